"""Classification of images by a linear model, an MLP, a CNN or a DenseNet."""
