"""A report on a search, as one page that opens offline: `python -m tune_sa2va.report results/NAME`.

Everything is read from the files of a results folder and, for the gallery, from the data set. Neither torch nor Ray is
imported, so a report can be made wherever the folder is. The page loads nothing: it contains plotly.js (the basic
bundle, MIT licence, assets/plotly-LICENSE), and its content security policy forbids the browser any request.
"""
