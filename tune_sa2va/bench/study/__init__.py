"""The study: what the tool finds on real images beside the user's recipe, over several seeds, made by one command.

`rows.py` says what is compared, `cells.py` runs the searches (each a process of its own, resumable), `unet.py` trains
the plain U-Net, `outcome.py` reads what they left, `table.py` and `figures.py` show it.
"""
