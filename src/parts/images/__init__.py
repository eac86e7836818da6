"""What tasks on images share: layers, how a trained model reads images, pictures in rows, and a command."""
