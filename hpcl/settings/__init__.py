"""The sections of params.yaml, one module each: a strict record, and what must hold among its values and with other sections.

They import no library but pydantic, so that `check` knows all of them within a second, and are declared file by file in
dvc.yaml, so that a change of one outdates the stages of its section only. (Section `ingest` is in `hpcl.ingest.settings`.)
"""
