"""Explanations: which features moved a model's answers, and how sure that is."""

from audit.data.images import Images as Images
from audit.data.series import Series as Series
from audit.data.series import series as series
from audit.data.texts import Texts as Texts
from audit.data.texts import tokenised as tokenised
from audit.explain import backgrounds as backgrounds
from audit.explain.attribution import Attribution as Attribution
from audit.explain.backgrounds import Background as Background
from audit.explain.counterfactual import Counterfactuals as Counterfactuals
from audit.explain.counterfactual import counterfactuals as counterfactuals
from audit.explain.games import Game as Game
from audit.explain.games import game as game
from audit.explain.games import value_table as value_table
from audit.explain.masking import Masker as Masker
from audit.explain.masking import masker as masker
from audit.explain.masking.tabular import one_hot_groups as one_hot_groups
from audit.explain.path_gradients import integrated_gradients as integrated_gradients
from audit.explain.reason_codes import Reason as Reason
from audit.explain.reason_codes import ReasonCodes as ReasonCodes
from audit.explain.reason_codes import reason_codes as reason_codes
from audit.explain.scorecards import reference_rows as reference_rows
from audit.explain.scorecards import scorecard as scorecard
from audit.explain.shapley import shapley as shapley
from audit.explain.surrogate import lime as lime
from audit.explain.surrogate_stability import Stability as Stability
from audit.explain.surrogate_stability import stability as stability
