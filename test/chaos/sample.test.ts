// A short sample of `npm run chaos`: one round of a kept seed must leave the books in order, and a build with a planted fault must not.
import { readFileSync } from "node:fs";
import { expect } from "chai";
import { COMMIT_POINTS, type CommitPoint } from "../../relayer/src/commit-points.ts";
import { runCampaign, type Say } from "./campaign.ts";
import { described, firstPlans, killsOf, SELDOM } from "./plan.ts";
import { findPlanted, PLANTED, unplantable } from "./planted.ts";
import { story } from "./report.ts";
import { startWorld, type World } from "./world.ts";

type Kept = { seeds: { seed: number; found: string }[] };

const { seeds } = JSON.parse(readFileSync(new URL("./seeds.json", import.meta.url), "utf8")) as Kept;
const KILLS = 6;
const SAMPLED = ["ceiling-above-balance", "failure-charged"];
const CASE_TIMEOUT_MS = 300_000;

describe("chaos", function () {
  this.timeout(CASE_TIMEOUT_MS);
  let world: World;
  const told: string[] = [];
  const say: Say = (line) => void told.push(line);

  before(async () => {
    world = await startWorld();
  });
  after(async () => world?.stop());

  it("plans the same for the same seed, and something else for another", () => {
    const first = (seed: number) => firstPlans(seed, 3).flatMap(described);
    expect(first(7)).deep.equal(first(7));
    expect(first(7)).not.deep.equal(first(8));
  });

  it("aims at every commit point, each as often as the others, but for those that are seldom reached", () => {
    const aims = firstPlans(7, 40).flatMap(killsOf).flatMap(({ at }) => ("point" in at ? [at.point] : []));
    const countsOf = (points: readonly CommitPoint[]) => points.map((point) => aims.filter((aim) => aim === point).length);
    const counts = countsOf(COMMIT_POINTS.filter((point) => !SELDOM.includes(point)));
    expect(Math.min(...countsOf(SELDOM))).greaterThan(Math.max(...counts));
    expect(Math.min(...counts)).greaterThan(0);
    expect(Math.max(...counts) - Math.min(...counts)).lessThan(2);
  });

  it(`seed ${seeds[0]!.seed}: ${KILLS} kills, every account of the money agrees`, async () => {
    const { failed, kills, paid } = await runCampaign([world], seeds[0]!.seed, KILLS, say);
    expect(failed === undefined ? "" : story(failed).join("\n")).equal("");
    expect(kills).at.least(KILLS);
    expect(paid).greaterThan(0);
  });

  it("has a place in the code for every planted fault", async () => {
    expect(await unplantable(world.db, PLANTED)).deep.equal([]);
    const [first] = PLANTED.filter(({ source }) => source !== undefined);
    expect(await unplantable(world.db, [{ ...first!, source: [{ ...first!.source![0]!, find: "no such text" }] }])).lengthOf(1);
  });

  for (const fault of PLANTED.filter(({ name }) => SAMPLED.includes(name))) {
    it(`finds a build that breaks "${fault.rule}"`, async () => {
      const found = await findPlanted(world, fault, seeds[0]!.seed, say);
      expect(found, told.slice(-5).join("\n")).not.equal(undefined);
    });
  }
});
