"""What a person starts: each job is `python -m jobs.NAME` and a `nightlift` sub-command."""
