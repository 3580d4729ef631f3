"""The notebook door: `load` a result folder, or `run` a study and load what it leaves.

>>> import warmup_bench as wb                     # doctest: +SKIP
>>> study = wb.load("quickstart-1a2b3c4d")        # doctest: +SKIP
>>> study.trials.groupby("schedule").final_validation_loss.min()  # doctest: +SKIP
"""
