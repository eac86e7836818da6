from __future__ import annotations

import pathlib
import pickle
import re
import subprocess
import sys
import time

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import faults_overrides
from src import registry, run
from src.config import admission, command_line, explain
from src.config.explain import GROUPS
from src.paths import REPOSITORY
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings
from tests.config.test_settings import TEXTS
from tests.conftest import write_table

KEYS = [
    *Settings.toggles(),
    "study",
    "evaluate_every",
    "tracking.every_n_batches",
    "data.limit",
    "data.path",
    "plan.threshold",
    "rerun",
]


def outcome(capsys, *overrides):
    """Returns exit code, standard output and standard error of a command that only plans."""
    code = run.main([*overrides, "plan_only=true"])
    return code, *capsys.readouterr()


def test_help_names_every_key_with_what_is_allowed(capsys):
    assert run.main(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(f"  {name}=" in text or f"  {name}." in text for name in Settings.model_fields)
    assert "  sequence_length=" not in text and "  task=integration " in text
    assert "cell=lstm" in text and "one of simple_rnn, gru, lstm" in text


@pytest.mark.parametrize(
    "words", [["--help", "task=integration"], ["task=integration", "-h"], ["-h", "-m", "task=integration,sentiment"]]
)
def test_help_of_a_task_has_its_own_keys_and_those_of_every_task(capsys, words):
    assert run.main(words) == 0

    text = capsys.readouterr().out
    assert all(f"  {name}=" in text or f"  {name}." in text for name in Integration.model_fields)
    assert "  masking=" not in text and "data=" not in text.partition("Settings of task=integration")[2]


def test_help_for_an_unknown_task_is_an_error_in_one_line(capsys):
    assert run.main(["--help", "task=pictures"]) == 2
    error = (
        "task: got 'pictures'; allowed: sentiment, integration, images, language_model, translation, word_vectors, "
        "pretraining, program. "
        "For a task of your own, write task=module:NAME"
    )
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["maskin=true"], "unknown key 'maskin'; did you mean masking?"),
        (["+unknown=1"], "unknown key 'unknown'"),
        (["++foo.bar=1"], "unknown key 'foo'"),
        (["~cell"], "~cell removes a key that every trial needs; leave it out"),
        (["~task"], "~task removes a key that every trial needs"),
        (["+cell=gru"], "cell already exists; write cell=… without the +"),
        (["cell=foo"], "cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
        (["cell=lstm,foo"], "cell: got 'foo'"),
        (["units=abc"], "units: got 'abc'; allowed: an integer from 1 to 65,536"),
        (["warmup=500"], "allowed: a share of all steps, from 0 to below 1. For example warmup=0.1"),
        (["plan.linked=[optimizer,learning_rate]"], "For example plan.linked='[[optimizer,learning_rate]]'"),
        (["plan.exclude=[optimizer]"], "For example plan.exclude='[{optimizer:sgd,accumulate:2}]'"),
        (["model=mine.py:build"], "there is no module mine.py with a source file; did you mean mine:build?"),
        (["task=program", "lr=0.1"], "unknown key 'lr'; did you mean toggles.lr or learning_rate?"),
        (["study=../../x"], "study: got '../../x'; allowed: text of a-z, 0-9, _ and -"),
        (["study=a,b"], "study is not a toggle and has one value for all trials"),
        (["data=foo"], "data: got 'foo'; allowed: movie_reviews, aclimdb, keras_imdb, table"),
        (["data.limt=3"], "unknown key 'data.limt'; did you mean data.limit?"),
        (["data={a:1}"], "data is a config group"),
        (["task=null"], "task, data, tracking are chosen by name"),
        (["hydra/launcher=foo"], "hydra/launcher: got 'foo'; allowed: basic"),
        (["++seed=7"], "++seed=7: write seed=… without the ++"),
        (["units=range(5,1)"], "units=range(5,1): the list is empty"),
        (["units=range(1,2000000)"], "units=range(1,2000000): the list is too long; allowed: up to 100,000 values"),
        (
            ["hydra.foo=1"],
            "hydra.foo=1: of Hydra's settings, only the launcher can be changed here, as in hydra/launcher=joblib",
        ),
        (["hydra.launcher.foo=1"], "the launcher has no key 'hydra.launcher.foo'"),
        (["hydra.launcher=null"], "hydra.launcher: got null; a launcher is chosen by name, as in hydra/launcher=basic"),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs: got 0; allowed: 1 or more workers",
        ),
        (["hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs needs the joblib launcher; add hydra/launcher=joblib"),
        (["plan=null"], "plan: got None; set its keys one by one, as in plan.design=grid"),
        (["plan=abc"], "plan: got 'abc'; set its keys one by one"),
        (["~plan"], "~plan removes a key that every trial needs"),
        (
            ["~tracking"],
            "~tracking removes a key that every trial needs; leave it out, or write tracking=mlflow instead",
        ),
        (["~data"], "~data removes a key that every trial needs"),
        (["~task.name"], "unknown key 'task.name'; a task is chosen by its name, as in task=NAME"),
        (["task.name=integration"], "a task is chosen by its name, as in task=NAME"),
        (
            ["task=integration", "task.num_samples=200"],
            "unknown key 'task.num_samples'; the toggles of a task have no prefix; write num_samples",
        ),
        (
            ["-m", "task=integration", "task.num_samples=200,300"],
            "the toggles of a task have no prefix; write num_samples",
        ),
        (["+plan.levels={task.num_samples:[200,300]}"], "the toggles of a task have no prefix; write num_samples"),
        (
            ["task=integration", "masking=true"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (
            ["task=integration", "+masking=true"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (
            ["task=integration", "~masking"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (
            ["-m", "task=integration", "masking=true,false"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (
            ["task=integration", "+plan.levels.masking=[true,false]"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (
            ["task=integration", "data.limit=9"],
            "task=integration has no data; task=sentiment, task=images, task=language_model, task=translat",
        ),
        (
            ["task=integration", "data=table"],
            "task=integration has no data; task=sentiment, task=images, task=language_model, task=translat",
        ),
        (
            ["task=integration", "data=table", "data.path=x.csv"],
            "task=integration has no data; task=sentiment, task=images, task=language_model, task=translat",
        ),
        (
            ["task=integration", "vocab=3"],
            "unknown key 'vocab'; task=integration has no vocab_size; task=sentiment, task=language_model, ",
        ),
        (
            ["task=integration", "dataset=x"],
            "unknown key 'dataset'; task=integration has no data; task=sentiment, task=images, ",
        ),
        (["+data=table"], "data has one value; write data=NAME without a +, or data=a,b for a study of several"),
        (["+task=integration"], "task has one value; write task=NAME without a +"),
        (["task="], "task: got ''; allowed: sentiment, integration"),
        (["task=a:b:c"], "task: got 'a:b:c'; allowed: sentiment, integration"),
        (
            ["-m", "task=integration,sentiment", "num_samples=200", "masking=true"],
            "task=integration has no masking; task=sentiment and task=language_model have it",
        ),
        (["-m", "task=integration,sentiment", "unitz=3"], "unknown key 'unitz'; did you mean units?"),
        (["-m", "task=integration,sentiment", "unitz=3,4"], "unknown key 'unitz'; did you mean units?"),
        (["-m", "task=integration,sentiment", "vocab_size=1"], "vocab_size: got 1; allowed: an integer from 5"),
        (["-m", "task=integration,sentiment", "vocab_size=1,100"], "vocab_size: got 1; allowed: an integer from 5"),
        (["num_samples=200"], "task=sentiment has no num_samples; task=integration has it"),
        (["threshold=1"], "task=sentiment has no threshold; task=integration has it"),
        (["task=image"], "task: got 'image'; allowed: sentiment, integration"),
        (["task=integraton"], "Did you mean task=integration?"),
        (["task=a.b"], "task: got 'a.b'; allowed: sentiment, integration"),
        (["-m", "task=sentiment,pictures"], "task: got 'pictures'; allowed: sentiment, integration"),
        (
            ["~plan.seeds"],
            "~plan.seeds removes a key that every trial needs; leave it out, or write plan.seeds=[] instead",
        ),
        (
            ["data=table", "data.path=x.csv", "data.label_column=''"],
            "data.label_column: got ''; allowed: text that is not empty",
        ),
        (
            ["data=table", "data.path=x.csv", "data.text_column=''"],
            "data.text_column: got ''; allowed: text that is not empty",
        ),
        (
            ["data=table", "data.path=x.csv", "data.split_column=''"],
            "data.split_column: got ''; allowed: text that is not empty or null",
        ),
        (
            ["data=table", "data.path='~no-such-user/x.csv'"],
            "~no-such-user/x.csv: there is no such user; write the whole path",
        ),
        (["data=aclimdb", "data.path='~no-such-user/x'"], "~no-such-user/x: there is no such user"),
        (["data=keras_imdb", "data.path='~no-such-user/x'"], "~no-such-user/x: there is no such user"),
        (["plan.levels.cell=[lstm,gru]"], "add it with a +: +plan.levels.cell=[VALUE, …]"),
        (["plan.levels={cell:[lstm,gru]}"], "'plan.levels'; add it with a +: +plan.levels.TOGGLE=[VALUE, …]"),
        (["plan.reference.cell=gru"], "'plan.reference.cell'; add it with a +: +plan.reference.cell=VALUE"),
        (["+plan.levels.cell=lstm,gru"], "write the list in brackets: +plan.levels.cell=[…]"),
        (["plan.seeds=1,2"], "write the list in brackets: plan.seeds=[…]"),
        (
            ["data.path=x.csv"],
            "unknown key 'data.path'; only data=aclimdb or keras_imdb or table has it; write both for all",
        ),
        (
            ["-m", "data=movie_reviews,table", "data.path=x.csv"],
            "write both for all trials, as in data=table data.path=…",
        ),
        (["~data", "data.limit=3"], "unknown key 'data.limit'; an override with ~ removed it; leave that out"),
        (["~plan.seeds", "plan.seeds=[1]"], "unknown key 'plan.seeds'; an override with ~ removed it"),
        (["data={a:1}"], "data is a config group and is chosen by name, as in data=movie_reviews"),
        (["experiments=smoke"], "a study file is added with a +: +experiments=NAME"),
        (
            ["+experiments=/tmp/mine"],
            "got a path that ends in 'mine'; allowed: the name of a file in the folder experiments/",
        ),
        (
            ["+experiments=smoke,onehot"],
            "+experiments=smoke,onehot: only one study file per command; write +experiments=NAME, and run",
        ),
        (["experiments=smoke,onehot"], "experiments=smoke,onehot: only one study file per command"),
        (["+experiments=smoke", "+experiments=onehot"], "only one study file per command; write +experiments=NAME"),
        (["plan=[1]"], "plan=[1]: Cannot merge DictConfig with ListConfig"),
        (["masking=true,1"], "masking: got true,1; allowed: true or false"),
        (["units=64,true"], "units: got 64,true; allowed: an integer from 1 to 65,536"),
        (["seed=0,false"], "seed: got 0,false; allowed: an integer from 0"),
        (["+plan.levels.masking=[true,1]"], "masking: got true,1; allowed: true or false"),
        (["padding=["], "'padding=[' cannot be parsed as KEY=VALUE"),
        (["foo"], "'foo' cannot be parsed as KEY=VALUE"),
        (["leave_one_out"], "'leave_one_out' is a study file; write +experiments=leave_one_out"),
        (["-m", "smoke", "epochs=2"], "'smoke' is a study file; write +experiments=smoke"),
        (["seeds=3"], "unknown key 'seeds'; did you mean seed (several: seed='range(0,8)')?"),
        (["num_seeds=3"], "unknown key 'num_seeds'; did you mean seed (several: seed='range(0,8)')?"),
        (
            ["learning_rate=interval(0,1)"],
            "learning_rate has an interval, from which only plan.design=random and halving draw",
        ),
        (["cell=glob(*)"], "only lists of values can be swept"),
        (["data=schema_table"], "data=schema_table: allowed: movie_reviews, aclimdb, keras_imdb, table"),
        (["-m", "data=table,schema_table"], "allowed: movie_reviews, aclimdb, keras_imdb, table"),
        (["data=table"], "data=table needs a path"),
        (["data=table", "data.path=gone.csv"], "gone.csv: no such file"),
        (["encoding=onehot", "vocab_size=10000000", "data.limit=50"], "MB; set encoding=embedding"),
        (["--unknown"], "unrecognised option --unknown"),
        (["--config-name=foo"], "--config-name is not available here"),
        (["--package", "foo"], "--package needs --cfg, as in --cfg job --package plan"),
        (["--resolve"], "--resolve needs --cfg, as in --cfg job --resolve"),
        (
            ["--shell-completion"],
            "--shell-completion is not available here; `python -m src.run --help` lists all options",
        ),
        (["--run"], "--run is not available here"),
        (["--cfg", "job", "cell=gru,lstm"], "cell: --cfg and --info show one trial; give cell one value"),
        (["lr=0.1"], "unknown key 'lr'; did you mean learning_rate?"),
        (["jit_compile=true"], "unknown key 'jit_compile'; write execution=xla for true, execution=graph for false"),
        (["+jit_compile=true"], "unknown key 'jit_compile'; write execution=xla for true"),
        (["-m", "task=images", "jit_compile=true,false"], "unknown key 'jit_compile'; write execution=xla for true"),
        (["run_eagerly=true"], "unknown key 'run_eagerly'; did you mean execution=eager?"),
        (["LR=0.1"], "unknown key 'LR'; did you mean learning_rate?"),
        (["hidden_size=3"], "unknown key 'hidden_size'; did you mean units?"),
        (["batchsize=3"], "unknown key 'batchsize'; did you mean batch_size?"),
        (["bs=3"], "unknown key 'bs'; did you mean batch_size?"),
        (["n_layers=3"], "unknown key 'n_layers'; did you mean depth?"),
        (["train.lr=3"], "unknown key 'train.lr'; did you mean learning_rate?"),
        (["limit=3"], "unknown key 'limit'; did you mean data.limit?"),
        (["plan.desing=grid"], "unknown key 'plan.desing'; did you mean plan.design?"),
        (["plan.zzz=grid"], "unknown key 'plan.zzz'; plan has the keys also, budget_key, budget_minutes, claim"),
        (["n_jobs=2"], "did you mean hydra.launcher.n_jobs (with hydra/launcher=joblib)?"),
        (["zzz=2"], "unknown key 'zzz'; `python -m src.run --help` lists all keys"),
        (["masking=true,flase"], "masking: got 'flase'; allowed: true or false. Did you mean false?"),
        (["bidirectional=yes"], "bidirectional: got 'yes'; allowed: true or false. Did you mean true?"),
        (["bidirectional=off"], "Did you mean false?"),
        (["cell=lsmt"], "Did you mean lstm?"),
        (["cell=LSTM"], "Did you mean lstm?"),
        (["cell=rnn"], "Did you mean simple_rnn?"),
        (["plan.metric='a b'"], "plan.metric: got 'a b'"),
        (["plan.threshold=2"], "plan.threshold=2: accuracy is at least 0 and at most 1; set a value that it can reach"),
        (["plan.threshold=high"], "plan.threshold: got 'high'; allowed: a number or null"),
        (
            ["masking=[true,false]"],
            "got the list [True, False]; allowed: true or false. To train each value, write masking=true,false",
        ),
        (
            ["data=my.csv"],
            "aclimdb, keras_imdb, table. For your own data, write data=table with data.path=PATH",
        ),
        (
            ["data=/tmp/my.csv"],
            "write data=table or data=folder or data=text or data=pairs with data.path=PATH",
        ),
        (["data=imdb"], "Did you mean data=aclimdb or keras_imdb?"),
        (["data=digits"], "data=digits is for task=images; add task=images, or choose one of movie_reviews, aclimdb"),
        (["task=images", "data=foo"], "For your own data, write data=folder with data.path=PATH"),
        (["task=integration", "data=foo"], "unknown key 'data': the task reads no data; remove data=foo"),
        (
            ["+experiments=smoke.yaml"],
            "+experiments: got 'smoke.yaml'; allowed: the name of a file in the folder experiments/. Did you mean +exp",
        ),
        (
            ["hydra.launcher=joblib"],
            "hydra.launcher: got joblib; a launcher is chosen by name, as in hydra/launcher=joblib",
        ),
        (["depth=65"], "depth: got 65; allowed: an integer from 1 to 64. Did you mean 64?"),
        (["units=1e2"], "units: got 100.0; allowed: an integer from 1 to 65,536. Did you mean 100?"),
        (["dropout=1.5"], "dropout: got 1.5; allowed: a number from 0 to below 1. For example dropout=0.0"),
        (["data=kerasimdb"], "Did you mean data=keras_imdb?"),
        (["hydra/launcher=jobib"], "Did you mean hydra/launcher=joblib?"),
        (["+experiments=smok"], "+experiments: there is no study file 'smok'; did you mean +experiments=smoke?"),
        (["+experiments=masking_by_side"], "did you mean +experiments=masking_by_side_and_length?"),
        (["+experiments=zzz"], "+experiments: there is no study file 'zzz'; experiments/ has accuracy_by_labels, "),
        (["--cfg", "x"], "invalid choice: 'x'"),
        (["embedding_dim=${units}", "units=32,64"], "interpolation is not allowed"),
    ],
)
def test_an_invalid_command_gets_an_error_of_at_most_two_lines(home, capsys, overrides, message):
    code, out, err = outcome(capsys, *overrides)

    assert code == 2
    assert message in err and err.startswith("error: ") and len(err.splitlines()) <= 2
    assert not out and not (home / "outputs" / "adhoc").exists()


@pytest.mark.parametrize("override", ["hydra.mode=RUN", "hydra/sweeper=basic"])
def test_hydra_flags_that_bypass_the_plan_are_refused(home, capsys, override):
    code, _, err = outcome(capsys, override, f"hydra.run.dir={home}", f"hydra.sweep.dir={home}")

    assert code == 2 and f"{override.partition('=')[0]} cannot be changed here; remove it" in err


@pytest.fixture
def pickled(home):
    """A pickle that creates a file when it is loaded, and that file."""
    (home / "x.pkl").write_bytes(pickle.dumps(Touch(home / "read")))
    return home / "x.pkl", home / "read"


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


CALL = "{_target_:pandas.read_pickle,filepath_or_buffer:FILE}"


@pytest.mark.parametrize(
    "words",
    [
        [f"+hydra.callbacks.x={CALL}"],
        [f"++hydra.callbacks={{x:{CALL}}}"],
        [f"++hydra={{callbacks:{{x:{CALL}}}}}"],
        ["+hydra.callbacks.x._target_=pandas.read_pickle", "+hydra.callbacks.x.filepath_or_buffer=FILE"],
        [f"hydra.launcher={CALL}"],
        ["++hydra.launcher._target_=pandas.read_pickle", "++hydra.launcher.filepath_or_buffer=FILE"],
        ["--experimental-rerun=FILE"],
        ["--experimental-rerun", "FILE"],
        ["--exp=FILE"],
        ["--", f"+hydra.callbacks.x={CALL}"],
        ["++hydra.job_logging.handlers.x={():pandas.read_pickle,filepath_or_buffer:FILE}", "hydra/job_logging=default"],
    ],
)
def test_no_argument_runs_a_file(pickled, capsys, words):
    file, trace = pickled

    code, _, err = outcome(capsys, *(word.replace("FILE", str(file)) for word in words))

    assert code == 2 and len(err.splitlines()) == 1 and not trace.exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "hydra.sweep.dir=/tmp/x",
            "hydra.sweep.dir=/tmp/x: of Hydra's settings, only the launcher can be changed here",
        ),
        ("~hydra", "of Hydra's settings, only the launcher can be changed here"),
        ("+hydra.searchpath=[file:///tmp]", "of Hydra's settings, only the launcher can be changed here"),
        ("hydra/job_logging=default", "of Hydra's settings, only the launcher can be changed here"),
        ("hydra.job.env_copy=[HOME]", "of Hydra's settings, only the launcher can be changed here"),
        (
            "hydra/launcher=ray_aws",
            "hydra/launcher: got 'ray_aws'; allowed: basic, joblib, ray, submitit_local, submitit_slurm",
        ),
        ("hydra/launcher=../x", "hydra/launcher: got '../x'"),
        ("data@hydra.callbacks=table", "write it without the @, as in data=table"),
        ("data=../../../tmp/x", "data: got '../../../tmp/x'; allowed: movie_reviews"),
        ("data=table,../../../tmp/x", "data: got '../../../tmp/x'"),
        ("data=[table,'/tmp/x']", "data: got '/tmp/x'"),
        ("+plan.levels.data=[table,../../x]", "data: got '../../x'"),
        ("+experiments=../../x", "got a path that ends in 'x'"),
        ("+other/group=x", "there is no config group 'other/group'"),
        ("study=${oc.env:HOME}", "interpolation is not allowed"),
        ("+plan.levels.cell=[lstm,'${oc.env:HOME}']", "interpolation is not allowed"),
        ("plan={_target_:x}", "_target_ is not allowed"),
        ("++tracking._partial_=true", "_partial_ is not allowed"),
        ('hydra.launcher.comment="a\nb"', "a launcher option must be one line"),
        ("data.path=\x1b[31m", "data.path=\\x1b[31m: control characters"),
        ("data.path=\udcff", "control characters and bytes that are not UTF-8"),
        ("units=shuffle(range(1,1000000000000))", "the list is too long; allowed: up to 100,000 values"),
        ("seed=range(0,150000)", "the list is too long; allowed: up to 100,000 values"),
        ("a=" + "[" * 60_000, "a=[[["),
        ("a=" + "{a:" * 100, "more than 20 nested brackets"),
        ("study=" + "x" * 300, "study: got 'xxx"),
        ("study=" + "x" * 100_000, "100,006 characters; allowed: up to 10,000"),
        ("x" * 9_000 + "=1", "unknown key 'xxx"),
        ("cell=" + "x" * 9_000, "cell: got 'xxx"),
        ("data=" + "x" * 9_000, "data: got 'xxx"),
        ("+experiments=" + "x" * 9_000, "+experiments: got 'xxx"),
        ("padding=[" + "x" * 9_000, "cannot be parsed as KEY=VALUE"),
    ],
)
def test_arguments_that_no_study_needs_are_refused_quickly_in_one_line(home, capsys, word, message):
    begin = time.process_time()

    code, _, err = outcome(capsys, word)

    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert len(err) < 800 and time.process_time() - begin < 2


def test_a_file_name_that_is_too_long_is_an_error_in_one_line(home, capsys):
    code, _, err = outcome(capsys, "data=table", f"data.path={'x' * 300}.csv")

    assert code == 2 and "File name too long" in err and len(err) < 400 and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"], ["hydra/launcher=basic"], ["+hydra.launcher.x=1"]]
)
def test_the_launcher_and_its_options_can_be_set(words):
    admission.check_words(words)


@pytest.mark.parametrize(
    "words", [[word] for word in (*faults_overrides.HYDRAS, *faults_overrides.FLAGS)], ids=lambda words: words[0]
)
def test_every_access_to_hydra_is_refused_in_one_line(home, capsys, words):
    code, _, err = outcome(capsys, *words)

    assert code == 2 and err.startswith("error: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", list(faults_overrides.overrides(60, seed=3)), ids=lambda words: "")
def test_odd_arguments_are_planned_or_refused_in_one_line(home, words):
    assert faults_overrides.fault(words) is None


@pytest.mark.parametrize("text", list(faults_overrides.study_files(40, seed=4)), ids=lambda text: "")
def test_odd_study_files_are_planned_or_refused_in_one_line(home, text):
    assert faults_overrides.fault([], text) is None


@pytest.mark.parametrize(
    "below",
    [
        "callbacks: {x: {_target_: pandas.read_pickle, filepath_or_buffer: FILE}}",
        "launcher: {_target_: pandas.read_pickle, filepath_or_buffer: FILE}",
        "<<: {callbacks: {x: {_target_: pandas.read_pickle, filepath_or_buffer: FILE}}}",
    ],
)
def test_no_study_file_runs_a_file(pickled, below):
    file, trace = pickled

    text = f"study: {faults_overrides.NAME}\nhydra: {{{below.replace('FILE', str(file))}}}\n"

    assert faults_overrides.fault([], text) is None and not trace.exists()


def test_the_composed_configuration_can_be_shown(home, capsys):
    assert run.main(["--cfg", "job", "cell=gru"]) == 0

    assert "cell: gru" in capsys.readouterr().out.splitlines()


def test_a_part_of_the_composed_configuration_can_be_shown(home, capsys):
    assert run.main(["--cfg", "job", "--package", "plan", "--resolve", "plan.design=path"]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "# @package plan" and "design: path" in shown and "cell: lstm" not in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--info"], 0, "Installed Hydra Plugins"),
        (["cell=gru", "-i", "defaults"], 0, "Defaults List"),
        (["--hydra-help", "data.limit=3"], 0, "== Flags =="),
        (["--cfg", "job", "--package", "nowhere"], 2, "package 'nowhere' not found in config"),
    ],
)
def test_output_of_hydra_flags_comes_from_hydra(home, words, code, said):
    command = [sys.executable, "-m", "src.run", *words]  # in a process of its own: Hydra sets up logging for them

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == code and said in (done.stderr if code else done.stdout)


@pytest.mark.parametrize("task", ["sentiment", "integration"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits_the_terminal(width, task):
    lines = command_line.help_text(task, width=width).splitlines()
    examples = [line for line in lines if line.startswith("  python -m src.")]

    assert max(map(len, set(lines) - set(examples))) <= max(width, 80)
    assert "  learning_rate=0.001" in "\n".join(lines)


def test_help_names_the_metrics_that_a_study_may_compare_by():
    lines = command_line.help_text("sentiment").splitlines()
    (row,) = [line for line in lines if line.startswith("  plan.metric=test/NAME")]

    assert row.split(maxsplit=1)[1].split(", ")[:3] == ["accuracy", "loss", "macro_f1"] and "roc_auc" in row
    assert "Metrics of" not in command_line.help_text("program")  # its settings declare them


def test_an_alias_names_an_existing_key():
    known = {"+experiments", "hydra.launcher.n_jobs (with hydra/launcher=joblib)", "seed (several: seed='range(0,8)')"}
    for kind in (Settings, Integration):
        named = {
            re.sub(r"=\w+$| \(.*", "", meant) if "hydra" not in meant and "seed" not in meant else meant
            for meant in kind.aliases().values()
        }
        assert named <= known | set(kind.model_fields)
        assert not {name.replace("_", "") for name in kind.model_fields} & set(kind.aliases())


def test_help_imports_no_numpy():
    program = "import sys; from src import run; run.main(['--help', 'task=integration']); run.main(['--help'])\n"
    program += "sys.exit(bool({'numpy', 'filelock', 'psutil'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=False).returncode
        == 0
    )


def test_errors_and_help_come_before_tensorflow_and_mlflow(home):
    program = (
        "import sys; from src import run\n"
        "large = ['encoding=onehot', 'vocab_size=10000000', 'data.limit=50']\n"
        "other = ['task=integration', 'masking=true']\n"
        "for arguments in (['--help'], ['cell=foo'], ['maskin=1'], large, ['+unknown=1'], other):\n"
        "    run.main(arguments)\n"
        "sys.exit(bool({'tensorflow', 'keras', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=False).returncode
        == 0
    )


ODD = [
    "2024_01",
    "1_2",
    "007",
    "1e3",
    "0x10",
    "on",
    "true",
    "1:30",
    "2024-01-01",
    "1.",
    "inf",
    "12.50",
    "nan",
    "-1",
    "1_0.5",
]


@pytest.mark.parametrize("typed", ODD)
def test_text_stays_as_typed(typed):
    parser = OverridesParser.create()
    for key in [*TEXTS, "+experiments"]:
        (word,) = command_line.with_quotes([f"{key}={typed}"])
        assert str(parser.parse_override(word).value()) == typed and isinstance(
            parser.parse_override(word).value(), str
        )


@pytest.mark.parametrize(
    "words", [["cell=gru"], ["units=1_0"], ["data.path=null"], ["data.path='1_1'"], ["seed=0,1"], ["study=["], ["-m"]]
)
def test_arguments_that_hydra_reads_correctly_stay_unchanged(words):
    assert command_line.with_quotes(words) == words


def test_text_in_a_list_stays_as_typed():
    (word,) = command_line.with_quotes(["data.path=1_1,a.csv,2e3,null"])

    values = OverridesParser.create().parse_override(word).value().list
    assert [value and getattr(value, "text", value) for value in values] == ["1_1", "a.csv", "2e3", None]


@pytest.mark.parametrize("typed", ["NULL", "Null"])
def test_a_value_that_may_be_null_or_text_is_refused_with_both_spellings(home, capsys, typed):
    code, _, err = outcome(capsys, f"plan.claim={typed}")

    assert (
        code == 2
        and f"plan.claim: got {typed}; write null for no value, or 'plan.claim=\"{typed}\"' for the text" in err
    )


@pytest.mark.parametrize("typed", ["1_2", "12", "2024_01", "007", "1e3", "on", "true"])
def test_a_study_has_the_typed_name(home, capsys, tiny, typed):
    code, out, _ = outcome(capsys, *tiny, f"study={typed}")

    assert code == 0 and f"study {typed}: 1 trial" in out


def test_columns_and_files_have_the_typed_names(home, tmp_path, capsys, monkeypatch):
    write_table(tmp_path / "1_1.csv")
    text = (tmp_path / "1_1.csv").read_text(encoding="utf-8").replace("text,label", "1_2,1e3")
    (tmp_path / "2024_01").mkdir()
    (tmp_path / "2024_01" / "x.csv").write_text(text, encoding="utf-8")

    for words in (
        ["data.text_column=1_2", "data.label_column=1e3"],
        ["data.text_column='1_2'", 'data.label_column="1e3"'],
    ):
        code, _, err = outcome(capsys, "data=table", f"data.path={tmp_path}/2024_01/x.csv", *words)
        assert code == 0, err


def test_a_study_file_may_have_a_name_that_hydra_reads_as_a_number(home, tmp_path, monkeypatch, capsys, request, tiny):
    (tmp_path / "2024_01.yaml").write_text(
        "study: 2024_01\nplan: {question: 1_1, levels: {cell: [lstm, gru]}}\n", encoding="utf-8"
    )
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)
    request.addfinalizer(lambda: ConfigStore.instance().repo["experiments"].pop("2024_01.yaml"))

    code, out, err = outcome(capsys, "+experiments=2024_01", *tiny)

    assert code == 0 and "study 2024_01: 2 variants × 1 seed = 2 trials" in out and "\n  question: 1_1\n" in out, err


@pytest.mark.parametrize(
    "word", ["data.path=ä.csv", "plan.question=(why)", "tracking.uri=postgresql://u@h/d?a=b", "study=~"]
)
def test_text_that_hydra_cannot_parse_is_refused_with_the_quotes_that_it_needs(home, capsys, word):
    code, _, err = outcome(capsys, word)

    key, _, value = word.partition("=")
    assert code == 2 and f"put text into two pairs of quotes: '{key}=\"{value}\"'" in err


def test_a_plan_is_printed_with_what_was_dropped_and_normalised(home, capsys, tiny):
    code, out, _ = outcome(
        capsys,
        *tiny,
        "-m",
        "padding=dataset,batch",
        "bucketing=true,false",
        "encoding=embedding,onehot",
        "vocab_size=10,9000000",
    )

    assert code == 0
    assert "study adhoc: 16 variants × 1 seed, of which 4 cannot run and 3 equal others: 9 trials" in out
    assert "normalised: padding=dataset bucketing=true encoding=embedding vocab_size=10: bucketing=false is used" in out
    assert out.count("  dropped: ") == 4


plain = st.one_of(
    st.text("ab01.,-_=[]{}()$'\"\\ /:é\n", max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["null", "true", "false", "", "[]", "{}"]),
)


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(["", "", "+", "++", "~"]), st.sampled_from(KEYS), plain), min_size=1, max_size=3
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_toggle_with_any_value_is_valid_or_gives_a_clear_error(home, capsys, tiny, pairs):
    code, out, err = outcome(capsys, *tiny, *(f"{prefix}{key}={value}" for prefix, key, value in pairs))

    assert (code == 0 and out.startswith("study ") and not err) or (code == 2 and err.startswith("error: "))
    assert "Traceback" not in err and err.strip() != "error:"


choices = {
    "cell": ["lstm", "gru", "simple_rnn", "x"],
    "masking": ["true", "false"],
    "padding": ["dataset", "batch", "equal"],
    "depth": ["1", "0", "64", "65"],
}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)
            for key, values in choices.items()
        },
    )
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sweep_is_planned_or_gives_a_clear_error(home, capsys, tiny, levels):
    code, _, err = outcome(capsys, *tiny, "-m", *(f"{key}={','.join(values)}" for key, values in levels.items()))

    is_valid = "x" not in levels.get("cell", []) and not {"0", "65"} & set(levels.get("depth", []))
    assert code == (0 if is_valid else 2) and bool(err) != is_valid


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in explain.choices(group)])
def test_every_file_of_every_group_composes(home, capsys, group, name):
    has_path = group == "data" and name not in ("movie_reviews", "digits", "dates")
    few = {"integration": [], "program": ["command=true {seed}"]}.get(name, ["data.limit=4"])
    owners = [task.name for task in registry.available() if name in task.settings.corpora()]
    task = [f"task={owners[0]}"] if owners else []

    code, _, err = outcome(capsys, *task, f"{group}={name}", *(["data.path=nowhere"] if has_path else few))

    assert (code, "nowhere" in err) == ((2, True) if has_path else (0, False)), err


def test_a_glob_selects_only_the_public_choices_of_a_group(home, capsys):
    code, out, err = outcome(capsys, "-m", "task=glob(*)")

    assert code == 0 and "study adhoc: 8 variants × 1 seed, of which 1 cannot run: 7 trials" in out, err
    assert "dropped: task=program: command: got ''" in out


@pytest.mark.parametrize(
    ("order", "typed"),
    [
        ("sentiment,integration", "num_samples=200"),
        ("sentiment,integration", "num_samples=200,300"),
        ("integration,sentiment", "num_samples=200,300"),
    ],
)
def test_a_task_that_lacks_a_key_is_dropped_with_the_reason(home, capsys, order, typed):
    code, out, err = outcome(capsys, "-m", f"task={order}", typed)

    assert (code, err) == (0, "")
    assert (
        out.count("  dropped: ")
        == len(typed.split(","))
        == out.count(": task=sentiment has no num_samples; task=integration has it")
    )


def test_a_study_whose_reference_alone_can_run_is_refused(home, capsys):
    code, _, err = outcome(capsys, "-m", "task=integration,sentiment", "num_samples=200")

    why = "nothing is left to compare with the reference: task=sentiment has no num_samples; task=integration has it"
    assert (code, err) == (2, f"error: {why}\n")


def test_a_study_file_may_vary_a_key_that_one_of_its_tasks_lacks(home, tmp_path, monkeypatch, capsys, request):
    text = "study: mine\nplan: {levels: {task: [sentiment, integration], num_samples: [200, 300]}}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)
    request.addfinalizer(lambda: ConfigStore.instance().repo["experiments"].pop("mine.yaml"))

    code, out, err = outcome(capsys, "+experiments=mine")

    assert (code, err) == (0, "") and out.count(": task=sentiment has no num_samples; task=integration has it") == 2


def test_every_group_file_has_a_choice_and_every_choice_a_file():
    for group in ("data", "tracking"):  # a task has none
        assert {path.stem for path in (REPOSITORY / "conf" / group).iterdir()} == set(explain.choices(group))


def test_our_own_error_is_not_classified_as_one_of_hydra():
    try:
        raise KeyError("ours")
    except KeyError as error:
        assert not command_line.is_from_composing(error)
