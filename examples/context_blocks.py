"""Trace blocks of code instead of functions, and say more about them.

    python examples/context_blocks.py

A small order desk: `span` around a block, `session` around all that belongs together, `enrich` for what is
known later, start() and end() where a block does not fit, `log_event` for what is over, `suppress` for what
is nobody's business, and `update_event` for feedback that comes when everything is done.
"""

from __future__ import annotations

import time
from decimal import Decimal

import honeytrace
from honeytrace import cli

PRICES = {"lamp": Decimal("39.90"), "desk": Decimal("249.00"), "chair": Decimal("119.50")}


def handle(order: dict[str, int], coupon: str) -> str:
    """Price an order and return the id of the event, to which the customer's feedback will belong."""
    with honeytrace.span("handle_order", "chain", inputs={"order": order}) as span:
        with honeytrace.span("check_stock", "tool", inputs={"items": list(order)}) as check:
            missing = [item for item in order if item not in PRICES]
            check.enrich(outputs={"missing": missing}, metrics={"coverage": 1 - len(missing) / len(order)})

        # What leaves the block as an exception is the error of its span.
        try:
            with honeytrace.span("redeem_coupon", "tool", inputs={"coupon": coupon}):
                discount = {"WELCOME10": Decimal("0.10")}[coupon]
        except KeyError:
            discount = Decimal(0)

        total = add_up({item: count for item, count in order.items() if item not in missing})
        span.enrich(outputs={"total": total * (1 - discount)}, config={"currency": "EUR"})
        return span.event_id


@honeytrace.span("add_up", "tool")
def add_up(order: dict[str, int]) -> Decimal:
    # Whatever is current can be enriched from anywhere below it.
    honeytrace.enrich_span(metrics={"lines": len(order)})
    return sum((PRICES[item] * count for item, count in order.items()), Decimal(0))


class Delivery:
    """Begins in one method and ends in another: no block can be put around that."""

    def begin(self, address: str) -> None:
        self.span = honeytrace.span("delivery", "tool", inputs={"address": address}).start()

    def arrive(self, signature: str) -> None:
        self.span.end({"signed_by": signature})


def record_payment(line: str, started: float) -> None:
    """Record what another system has done and reports in its own words; times are seconds since the epoch."""
    method, amount, milliseconds = line.split(";")
    honeytrace.log_event(
        "payment",
        event_type="tool",
        inputs={"method": method},
        outputs={"amount": amount},
        start_time=started,
        end_time=started + float(milliseconds) / 1000,
    )


def main() -> None:
    honeytrace.init(exporters=["local"])
    with honeytrace.session("order desk", user_properties={"user_id": "customer-7", "country": "DE"}) as session:
        event_id = handle({"lamp": 2, "desk": 1, "sofa": 1}, coupon="WELCOME20")
        record_payment("card;328.80;0.4", started=time.time())
        delivery = Delivery()
        delivery.begin("Main Street 1")
        delivery.arrive("M. Lee")
        with honeytrace.suppress():
            handle({"chair": 1}, coupon="STAFF")  # leaves no trace
        honeytrace.enrich_session(metadata={"channel": "shop"})

    # Later, perhaps in another process: the id is all it takes.
    honeytrace.update_event(event_id, feedback={"rating": 4, "comment": "the sofa was missing"})
    honeytrace.flush()
    cli.main(["show", session.session_id, "--full"])


if __name__ == "__main__":
    main()
