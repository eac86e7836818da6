"""From tracked trials to what one reads: frames in, tables and figures out. Nothing here imports TensorFlow."""
