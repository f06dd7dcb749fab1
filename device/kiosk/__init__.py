"""The kiosk: rules as a pure function (`logic.py`), and the program around them (`app.py`)."""
