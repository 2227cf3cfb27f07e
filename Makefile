# `make TASK` is short for `python3 run.py TASK`, which works on every system.
.PHONY: demo test test-browser check bench gallery tutorials mutate measure docs
demo test test-browser check bench gallery tutorials mutate measure docs:
	python3 run.py $@
