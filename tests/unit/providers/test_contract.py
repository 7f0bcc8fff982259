"""Every provider found keeps the contract; one without a payload file fails."""

import pytest

from market_data.etl.registry import providers
from tests.support.provider_contract import PAYLOADS, ProviderContract, Subject


class TestProviders(ProviderContract):
    @pytest.fixture(params=sorted(providers()))
    def subject(self, request) -> Subject:
        return Subject.load(providers()[request.param])


def test_no_payload_is_left_of_a_provider_that_is_gone():
    assert {path.stem for path in PAYLOADS.glob("*.json")} == set(providers())
