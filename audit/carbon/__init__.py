"""Energy and carbon: physical quantities with bounds, a grade of evidence, and the method that gave them."""

from audit.carbon.quantity import Quantity as Quantity
