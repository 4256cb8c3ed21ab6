"""Package metadata; `requirements.lock` pins the exact versions these ranges resolve to."""

from setuptools import find_packages, setup

INSTALL = [
    "altair>=6,<7",
    "apprise>=2.3,<3",
    "click>=8.1,<9",
    "delta-spark>=4.0,<4.1",
    "jinja2>=3.1,<4",
    "markupsafe>=2.1,<4",
    "mlflow>=3.17,<4",
    "numpy>=1.26,<2",  # petastorm imports only beside pyarrow<15, which needs numpy<2
    "pandas>=2.2,<3",
    "petastorm==0.13.1",
    "prometheus-client>=0.20,<1",
    "pyarrow>=14,<15",
    "pydantic>=2.7,<3",
    "pyspark>=4.0,<4.1",
    "pyyaml>=6,<7",
    "rich>=13,<16",
    "safetensors>=0.5,<1",
    "scikit-learn>=1.5,<2",
    "scipy>=1.13,<2",
    "threadpoolctl>=3.5,<4",
    "torch>=2.6,<2.13",
    "vl-convert-python>=1.7,<2",
]

DEV = [
    "build>=1.2,<2",
    "hypothesis>=6.100,<7",
    "mypy>=1.15,<3",
    "opacus>=1.6,<2",  # reference for the privacy account
    "pandas-stubs>=2.2,<3",
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",
    "ruff>=0.12,<1",
    "statsmodels>=0.14,<1",  # reference for the paired tests
    "types-PyYAML>=6,<7",
]

setup(
    name="rehearsal",
    version="0.1.0",
    description="Replay a model release on every segment of users before users meet it.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    package_dir={"": "lib", "rehearsal.jobs": "jobs", "rehearsal.conf": "conf"},
    packages=[*find_packages("lib"), "rehearsal.jobs", "rehearsal.conf"],
    package_data={"rehearsal": ["py.typed", "report/page.*"], "rehearsal.conf": ["*.yml"]},
    install_requires=INSTALL,
    extras_require={"dev": DEV},
    entry_points={"console_scripts": ["rehearsal = rehearsal.cli:main"]},
)
