"""Write one HTML page in which a network is explored in a browser.

In: a run, or a config. Out: the text of a page with the network, its weights and some images. Open `page.py` first; the
page's own code is in `page/`, where `arithmetic/` computes and `main.js` starts.
"""
