// Builds with a planted fault, each in rounds of its own until the audit says what is wrong.
import { readFileSync } from "node:fs";
import type { Db } from "../../relayer/src/db/pool.ts";
import type { Say } from "./campaign.ts";
import { summaryOf } from "./campaign.ts";
import type { Violation } from "./books.ts";
import { PLANTED, type PlantedFault, type SqlPatch } from "./planted-faults.ts";
import { plans, type Fault, type Kill, type Plan, type Step } from "./plan.ts";
import { runRound } from "./round.ts";
import type { World } from "./world.ts";

export { PLANTED };

const ROUNDS_MOST = 4;

/** @returns what was found, or undefined when nothing was. @throws when the fault could not be planted. */
export async function findPlanted(world: World, fault: PlantedFault, seed: number, say: Say): Promise<Violation | undefined> {
  say(`planted: ${fault.name}, against "${fault.rule}"`);
  await world.newLedger();
  await plant(world.db, fault.sql ?? []);
  try {
    for (const plan of plans(seed)) {
      const result = await runRound(world, fitted(plan, fault), `${seed}.${fault.name}.${plan.round}`, fault.source === undefined ? undefined : fault.name);
      say(`  ${summaryOf(result)}`);
      const [violation] = result.violations;
      if (violation !== undefined) return violation;
      if (plan.round >= ROUNDS_MOST) return undefined;
    }
  } finally {
    await world.newLedger();
  }
  return undefined;
}

const FEW_KILLS = 1;
const KILLS = 3;
const STEPS = 6;

/** The plan with what the fault needs to show. */
function fitted(plan: Plan, { needs = [] }: PlantedFault): Plan {
  const step = (id: string, what: Kill | Fault): Step => ({ id, afterMs: 400, whenHealthy: true, ...what });
  let kills = 0;
  const steps = plan.steps.filter(({ kind }) => kind !== "kill" || ++kills <= (needs.includes("few kills") ? FEW_KILLS : KILLS)).slice(0, STEPS);
  if (needs.includes("postgres")) steps.push(...Array.from({ length: 5 }, (_, index) => step(`extra-postgres${index}`, { kind: "postgres", how: "kill" })));
  if (needs.includes("freezes")) steps.push(...Array.from({ length: 8 }, (_, index) => step(`extra-freeze${index}`, { kind: "freeze", slot: index % 2, forMs: 400 })));
  for (const point of ["tx.broadcast", "answer.sent", "tx.committed.job"] as const) {
    if (needs.includes(`kill at ${point}`)) steps.push(...Array.from({ length: 4 }, (_, index) => step(`extra-kill${index}`, { kind: "kill", at: { point, nth: 2 } })));
  }
  // So few steps are soon over: who buys meanwhile rests less.
  return { ...plan, steps, actors: plan.actors.map((actor) => ({ ...actor, pauseMs: Math.round(actor.pauseMs / 3) })) };
}

/** Patches functions of the database. */
async function plant(db: Db, patches: readonly SqlPatch[]): Promise<void> {
  for (const { function: name, find, replace } of patches) {
    const definition = await definitionOf(db, name);
    if (timesIn(definition, find) !== 1) throw new Error(`planted fault: its text is in ${name} ${timesIn(definition, find)} times, not once: ${find}`);
    await db.query(definition.replace(find, () => replace));
  }
}

const timesIn = (text: string, find: string): number => text.split(find).length - 1;

/** Which of these have a text that the code, or a function of the database, has not exactly once. Texts of one function are looked for as it is before any is replaced. */
export async function unplantable(db: Db, faults: readonly PlantedFault[]): Promise<string[]> {
  const wrong: string[] = [];
  const look = (fault: PlantedFault, where: string, text: string, find: string) => timesIn(text, find) === 1 || wrong.push(`${fault.name}: ${timesIn(text, find)} times in ${where}: ${find}`);
  for (const fault of faults) {
    for (const { file, find } of fault.source ?? []) look(fault, file, readFileSync(new URL(`../../${file}`, import.meta.url), "utf8"), find);
    for (const { function: name, find } of fault.sql ?? []) look(fault, name, await definitionOf(db, name), find);
  }
  return wrong;
}

async function definitionOf(db: Db, name: string): Promise<string> {
  const { rows } = await db.query<{ definition: string }>("SELECT pg_get_functiondef(oid) AS definition FROM pg_proc WHERE proname = $1", [name]);
  if (rows.length !== 1) throw new Error(`planted fault: ${rows.length} functions are called ${name}`);
  return rows[0]!.definition;
}
