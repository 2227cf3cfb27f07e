# Sugar for `python run.py TASK`; run.py is the one that works everywhere.
.PHONY: demo test test-browser check bench gallery tutorials mutate measure docs
demo test test-browser check bench gallery tutorials mutate measure docs:
	python3 run.py $@
