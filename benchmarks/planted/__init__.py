"""What an audit finds of errors that were planted, and whether correcting them pays; docs/audit.md has the tables.

`errors` plants by seed, `project` runs the stages in folders of their own, `truth` knows what is right; `audit` scores the audit,
`loop` lets a simulated `mapper` answer and maps again. Synthetic ground: that says what the mechanism does, not how it fares elsewhere.
"""
