"""The customers: ten orders, which the ids share out over the brokers.

Start the brokers and nodes with ``understudy up examples/brokers/topology.toml``; then run this
with ``python examples/brokers/customers.py``. It knows the address of one broker, or those in
UNDERSTUDY_URL, and learns the others from it.
"""

from understudy import Runtime

runtime = Runtime(group="customers")


def main() -> None:
    orders = runtime.options(target="orders")
    handles = {f"order-{n}": orders.rpc(f"order-{n}", "order", [1, 2, n]) for n in range(10)}
    for id, handle in handles.items():
        print(f"{id} costs {handle.result()}")
    runtime.stop()


if __name__ == "__main__":
    main()
