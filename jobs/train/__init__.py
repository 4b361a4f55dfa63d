"""`nightlift train`: zero-reference training on Ray Train.

job.py          flags, and what is checked before anything is begun; checks.py: the places
driver.py       reads the images, starts Ray Train, shows what workers report
placement.py    how many workers, on what; network_interface.py: how they reach each other
supervisor.py   Ray Train started, and started again where a node is lost
worker.py       a worker's share of each step; outputs.py: weights and contact sheets of an epoch
state.py        one training as it travels; loss_record.py: its losses as a table, and drawn
"""
