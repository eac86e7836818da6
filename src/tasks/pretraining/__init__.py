"""Classification of images with few labels, by an encoder that was trained without labels before."""
