// Which charges are of services sold by the month is known from what was sold: others pay nothing for it.
import type { Group } from "../../db/group.ts";
import type { Charge, Charged } from "../ledger/store.ts";

export function dispatchPeriods(plain: Group<Charge, Charged | undefined>, byPeriod: Group<Charge, Charged | undefined>): Group<Charge, Charged | undefined> {
  return (item) => (item.periodS === undefined ? plain(item) : byPeriod(item));
}
