"""What is written on the wire: bodies in each format, and the values in them checked against a signature."""
