"""Records of a trial: the journal stores them first, and MLflow and TensorBoard replay the journal."""
