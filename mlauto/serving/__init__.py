"""What runs beside users' traffic: the model server (copied into the image) and the gateway. Stands alone."""
