// `npm run chaos -- [--kills N] [--seed S] [--worlds W] [--json] [--no-indexer]`: kills until N processes died; `--planted [name]`: every build with a
// planted fault has to be found out.
import { parseArgs } from "node:util";
import { runCampaign, shrink } from "./campaign.ts";
import { checkIndexed } from "./indexed.ts";
import { findPlanted, PLANTED } from "./planted.ts";
import { coverage, story, summary } from "./report.ts";
import { startWorld, type World } from "./world.ts";

const SHRINK_RUNS = 16;
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { kills: { type: "string", default: "100" }, seed: { type: "string" }, worlds: { type: "string", default: "1" }, json: { type: "boolean", default: false }, planted: { type: "boolean", default: false }, "no-indexer": { type: "boolean", default: false }, "no-shrink": { type: "boolean", default: false } },
});
const seed = number(options.seed ?? String(Date.now() % 1_000_000), "--seed");
const kills = number(options.kills, "--kills");
const count = Math.max(1, number(options.worlds, "--worlds"));

function number(text: string, name: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  say(`${name} takes a whole number, not ${text}.`);
  process.exit(2);
}

async function campaign(): Promise<boolean> {
  const indexed: string[] = [];
  const close = async (world: World) => void (options["no-indexer"] || indexed.push(...(await checkIndexed(world))));
  const renewed = async (world: World): Promise<World> => {
    await close(world);
    await world.stop();
    return (worlds[worlds.indexOf(world)] = await startWorld());
  };
  const result = await runCampaign(worlds, seed, kills, say, renewed);
  if (result.failed === undefined) for (const world of worlds) await close(world);
  const lines = options.json ? say : print;
  for (const line of coverage(result.points)) lines(line);
  if (result.failed !== undefined) await tell(result.failed.world, result.failed);
  for (const difference of indexed) lines(`✗ ${difference}`);
  const violations = (result.failed?.violations.length ?? 0) + indexed.length;
  lines(`${result.kills} kills (${result.randomKills} at random) in ${result.rounds} rounds, ${result.purchases} purchases, ${result.paid} answered, ${violations} violations; seed ${seed}`);
  if (options.json) print(summary(result, violations));
  return violations === 0;
}

async function tell(world: World, failed: Parameters<typeof shrink>[1]): Promise<void> {
  if (options["no-shrink"]) return;
  const smallest = await shrink(world, failed, SHRINK_RUNS, say);
  say(`The shortest story (npm run chaos -- --seed ${seed} runs all of it):`);
  for (const line of story(smallest)) say(line);
}

async function planted(world: World): Promise<boolean> {
  const chosen = positionals.length === 0 ? PLANTED : PLANTED.filter(({ name }) => positionals.includes(name));
  const missed: string[] = [];
  for (const fault of chosen) {
    const found = await findPlanted(world, fault, seed, say);
    print(`${found === undefined ? "✗ not found " : "✓ found"} ${fault.name}${found === undefined ? "" : `: ${found.rule} (${found.text.slice(0, 140)})`}`);
    if (found === undefined) missed.push(fault.name);
  }
  if (options.json) print(JSON.stringify({ chaos: true, planted: chosen.length, found: chosen.length - missed.length, missed, seed }));
  return missed.length === 0;
}

say(`seed ${seed}: starting a node, PostgreSQL, a provider`);
const worlds = await Promise.all(Array.from({ length: options.planted ? 1 : count }, () => startWorld()));
let ending: Promise<unknown> | undefined;
const end = () => (ending ??= Promise.all(worlds.map((world) => world.stop())));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void end().finally(() => process.exit(130)));
try {
  process.exitCode = (await (options.planted ? planted(worlds[0]!) : campaign())) ? 0 : 1;
} finally {
  await end();
}
process.exit();
