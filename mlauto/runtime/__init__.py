"""Where other people's code runs: the seam (`base`), processes on this machine (`local`), a warm process (`warm`)."""
