"""From tracked trials to tables, figures and reports. Nothing here imports TensorFlow; TensorBoard does, for events."""
