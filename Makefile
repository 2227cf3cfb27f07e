# Sugar for `python run.py TASK`; run.py is the one that works everywhere.
.PHONY: demo test check bench gallery mutate docs
demo test check bench gallery mutate docs:
	python3 run.py $@
