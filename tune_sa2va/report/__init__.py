"""What a search did and found, as one page that opens offline: `python -m tune_sa2va.report results/NAME`.

Everything is read from the files of a results folder (and, for the gallery, from the data set); torch and Ray are not
imported, so a report is made wherever the folder is. The page loads nothing: plotly.js (its basic bundle, MIT licence,
assets/plotly-LICENSE) lies in it, and its content security policy forbids the browser any request.
"""
