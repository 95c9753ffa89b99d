from audit.reports.sources import bibliography, cite

TEXT = """
@article{hardt2016,
  author = {Hardt, Moritz and Price, Eric and Srebro, Nati},
  title = {Equality of Opportunity in {Supervised} Learning}, journal = "NeurIPS",
  pages = {3315--3323}, year = 2016
}
@misc{many, author={A, B and C, D and E, F and G, H}, title={T}, year={2020}, url={https://example.org/x}}
@book{umlaut, author = {M{\\"u}ller, J.}, title = {A & B}, publisher = {P}, year = {1999}, doi = {10.1/2}}
"""


def test_sources_read_as_author_year_title():
    entries = bibliography(TEXT)
    assert (
        cite("hardt2016", entries)
        == "Hardt, Price and Srebro (2016). Equality of Opportunity in Supervised Learning. NeurIPS."
    )
    assert cite("many", entries) == "A et al. (2020). T. https://example.org/x."
    assert cite("umlaut", entries) == "Müller (1999). A & B. P. doi:10.1/2."
    assert entries["hardt2016"]["pages"] == "3315–3323"


def test_an_unknown_key_is_its_own_text():
    assert cite("nobody1900", bibliography(TEXT)) == "nobody1900"
