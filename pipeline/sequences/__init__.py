"""Photo sequences, such as time-lapses: photos of one folder, enhanced without flicker from one to the next.

order.py             which photos follow each other    capture_time.py   when a photo was taken
light_over_time.py   curve maps, steady over time      steps.py          what each photo goes through
"""
