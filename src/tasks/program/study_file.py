"""The study file from which a user starts."""

TEXT = """\
# A study of a program of yours. Edit it, then look at the plan, and run it:
#   python -m src.run -m task=program +experiments={study} plan_only=true
#   python -m src.run -m task=program +experiments={study}
# The command line must name task=program: a study file alone runs no command.
study: {study}

# The command of one trial. No shell reads it: it is split into words first, then each {{name}} is replaced by a value.
# {{seed}} is the seed, {{artifacts}} a folder whose files become artifacts, {{metrics}} the file for metrics, and
# {{settings}} a JSON file with the toggles. The same are in the environment: ABLATION_SEED, ABLATION_ARTIFACTS,
# ABLATION_METRICS, ABLATION_SETTINGS, and ABLATION_TOGGLE_lr.
command: python train.py --lr {{lr}} --model {{model}} --seed {{seed}}

program:
  # What the program reports. The first metric compares the variants, by test/accuracy here.
  metrics:
    accuracy: {{direction: higher, digits: 3}}
    loss: lower
  # Optional: what each toggle means, and what it allows.
  toggles:
    lr: {{type: float, low: 0.0, high: 1.0, about: learning rate}}
  # Files that decide the result; the script in the command is always one of them.
  files: []
  timeout_minutes: 60
  # The program writes JSON lines to the file $ABLATION_METRICS, such as
  #   {{"step": 10, "train/loss": 0.3}}   {{"epoch": 1, "val/accuracy": 0.9}}   {{"test/accuracy": 0.91}}
  # or its output has lines that a pattern recognises:
  # patterns:
  #   - 'epoch (?P<epoch>\\d+): val_accuracy (?P<val_accuracy>[\\d.]+)'
  #   - 'test_accuracy (?P<test_accuracy>[\\d.]+)'
  # or it writes an MLflow run of its own:
  # mlflow: true

plan:
  design: grid            # leave_one_out, one_at_a_time, … : docs/studies.md
  levels:                 # the first value is the reference
    toggles.lr: [0.1, 0.01]
    toggles.model: [mlp, cnn]
  seeds: [0, 1, 2, 3, 4]
"""
