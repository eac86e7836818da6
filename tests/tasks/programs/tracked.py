"""A program that writes an MLflow run of its own; it knows nothing of studies."""

import sys

import mlflow

with mlflow.start_run():
    mlflow.log_param("lr", sys.argv[1])
    for epoch in (0, 1):
        mlflow.log_metric("val_accuracy", 0.5 + 0.1 * epoch, step=epoch)
        mlflow.log_metric("accuracy", 0.6 + 0.1 * epoch, step=epoch)
    mlflow.log_metric("test_accuracy", 0.9 - float(sys.argv[1]))
    mlflow.log_text("hello", "notes/a.txt")
