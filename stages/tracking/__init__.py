"""DVC, git and MLflow: a state of the pipeline is a parent run, an execution of a stage is a child run, and
a part of one, such as the training of one fold, a run under that.

A stage only appends to a journal (`journal`, `execution`); `delivery` carries journals to MLflow, after each epoch of the
training, when a stage fails, in the last stage `track` and in ``python -m stages.tracking sync``. Only `store`, `delivery` and
`results` know MLflow, and nothing here knows `hpcl`. Errors are reported and the work goes on (`errors`).
"""
