"""The study: compares searches with the recipe on real images, over several seeds, with one command.

`rows.py` says what is compared, `cells.py` runs the searches (each in its own process, resumable), `unet.py` trains the
plain U-Net, `outcome.py` reads the results, `table.py`, `figures.py`, `importance.py` and `pictures.py` show them.
"""
