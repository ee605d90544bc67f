// tallystick negotiate agrees a price and pays; what it saved is checked offline, by somebody who has nothing but the file.
import { expect } from "chai";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SessionFile } from "../../sdk/src/negotiation/session-file.ts";
import { checkSession, readSession } from "../../sdk/src/cli/session-check.ts";
import { tallystick } from "../support/cli.ts";
import { keyOf } from "../support/config.ts";
import { EASY_SLA, policyOf, publishPolicy } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const BUYER = 1;

describe("tallystick negotiate", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let folder: string;
  let session: SessionFile;
  before(async () => {
    [world, folder] = await Promise.all([startTestWorld(), mkdtemp(join(tmpdir(), "tallystick-negotiate-"))]);
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
    await world.chain.mintUSDC(world.chain.account(BUYER).address, 5_000_000n);
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const run = (args: string[]) => tallystick(["negotiate", ...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(BUYER), TALLYSTICK_RELAYER_URL: world.url, TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_STATE: folder } });
  const path = (name: string) => join(folder, name);
  function changed(change: (file: any) => void): string {
    const file = structuredClone(session);
    change(file);
    return JSON.stringify(file);
  }
  async function verify(change: (file: any) => void = () => {}) {
    await writeFile(path("changed.json"), changed(change));
    return tallystick(["receipt", "verify", "--session", path("changed.json"), "--json"]);
  }

  it("bargains, calls once, and saves what was signed", async () => {
    const ran = await run(["--capability", "echo.text", "--max", "0.012", "--calls", "5", "-d", '{"n":1}', "--path", "/hello", "--save-session", path("session.json")]);
    expect(ran.code, ran.stderr).equal(0);
    expect(ran.json).include({ service: "echo", cost: "0.009", firstOffered: "0.01" });
    expect(ran.json["output"]).include({ method: "POST", url: "/hello", body: '{"n":1}' });
    session = JSON.parse(await readFile(path("session.json"), "utf8")) as SessionFile;
    expect([session.receipts.length, session.receipts[0]!.payload.session]).deep.equal([1, ran.json["sessionId"]]);
  });

  it("says what is missing, and why nobody sells for so little", async () => {
    const refused = async (args: string[]) => run(args).then(({ code, json }) => [code, json["error"].code]);
    expect((await refused(["echo"]))[0]).equal(2);
    expect((await refused(["--max", "0.01"]))[0]).equal(2);
    expect((await refused(["echo", "--capability", "echo.text", "--max", "0.01"]))[0]).equal(2);
    expect((await refused(["echo", "--max", "0.001"]))[1]).equal("no_offer");
    expect((await refused(["echo", "--max", "0.01", "-d", "{"]))[0]).equal(2);
  });

  it("the saved session checks out with no relayer, no chain and no key", async () => {
    const ran = await verify();
    expect([ran.code, ran.json["valid"], (ran.json["checks"] as { name: string }[]).map(({ name }) => name)]).deep.equal([0, true, ["agreement", "receipts", "total", "vouchers"]]);
    expect((await tallystick(["receipt", "verify", "--json"])).code).equal(2);
  });

  it("and every part of it that is changed is found", async () => {
    const faults = async (change: (file: any) => void) =>
      (await checkSession(readSession(changed(change)))).filter(({ result }) => result === "fail").map(({ detail }) => /^\w+/.exec(detail)![0]);
    expect(await faults((file) => (file.receipts[0].payload.amount = "10001"))).include.members(["receipt_signature", "charged_above_agreed"]);
    expect(await faults((file) => (file.offer.message.pricePerRequest = "0.02"))).include.members(["acceptance_other", "receipt_offer"]);
    expect(await faults((file) => delete file.policy)).deep.equal(["policy_missing"]);
    expect(await faults((file) => (file.acceptance.message.budget = "0.001"))).include.members(["acceptance_signature", "receipt_session", "charged_above_budget"]);
    expect(await faults((file) => (file.vouchers = []))).deep.equal(["voucher_below_charged"]);
    expect(await faults((file) => (file.vouchers[0].maxClaimableAmount = "8999"))).deep.equal(["voucher_signature", "voucher_below_charged"]);
    expect(await faults((file) => (file.channelConfig.receiverAuthorizer = world.chain.account(9).address))).include.members(["receipt_signature", "receipt_channel", "voucher_channel"]);
    expect(await faults((file) => (file.receipts[0].domain.chainId = 8453))).include.members(["receipt_domain"]);
    const ran = await verify((file) => (file.vouchers = []));
    expect([ran.code, ran.json["valid"]]).deep.equal([1, false]);
    expect((await verify((file) => (file.channelConfig.salt = "0x01"))).code).equal(2);
  });
});
