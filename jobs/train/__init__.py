"""`nightlift train`: zero-reference training on Ray Train.

job.py          the order of the job; config.py: its flags; checks.py: checks of where it reads and writes
driver.py       reads the images, starts Ray Train, shows what workers report
placement.py    number and device of the workers; jobs/cluster/network_interface.py: how they reach each other
supervisor.py   starts Ray Train, and starts it again when a node is lost
worker.py       a worker's share of each step; outputs.py: weights and contact sheet of an epoch
training_run.py what workers are given; status.py: what they report; state.py: what they save after an epoch
loss_record.py  losses as a table and a drawing
"""
