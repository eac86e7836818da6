"""Images: one class for a picture, told by a linear model, an MLP, a CNN or a DenseNet."""
