"""What a trial did: the journal is the only writer, MLflow and TensorBoard replay it."""
