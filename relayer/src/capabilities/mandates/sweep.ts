// What nobody has asked for lately is added up all the same. Safe in any number of processes.
import type { Deps } from "../../deps.ts";
import { foldIdle } from "./budget-store.ts";

const MOST_MANDATES = 500;

export async function sweepBudgets({ db }: Pick<Deps, "db">): Promise<void> {
  await foldIdle(db, MOST_MANDATES);
}
