// Attack: a process that judges by a policy which is no longer in force. An old version is replayed; a process is cut off from the database, or
// stalled, or held still while the policy changes. None may let a payment pass.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { admit } from "../../relayer/src/capabilities/firewall/gate.ts";
import { startRelayer, type Service } from "../../scripts/local/relayer.ts";
import { addressOf, ROLE, testEnvironment } from "../support/config.ts";
import { sendPayment } from "../support/exact-hand.ts";
import { applyPolicy, assertSpent, inForce, moneyOf, payerOf, policyOf, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startTcpProxy, through, type TcpProxy } from "../support/tcp-proxy.ts";

describe("attack: stale policy", function () {
  this.timeout(300_000);
  let world: TestWorld;
  let databaseUrl: string;
  let proxy: TcpProxy;
  let cutOff: Awaited<ReturnType<TestWorld["anotherRelayer"]>>;
  let folder: string;
  before(async () => {
    world = await startTestWorld();
    folder = await mkdtemp(join(tmpdir(), "tallystick-stale-"));
    databaseUrl = world.relayer.deps.config.databaseUrl;
    const { hostname, port } = new URL(databaseUrl);
    proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    cutOff = await world.anotherRelayer({ DATABASE_URL: through(databaseUrl, proxy.port) });
  });
  after(async () => {
    proxy.heal();
    await world.stop();
    await proxy.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const codeOf = async (response: Response) => ((await response.json()) as Refused).code;

  it("an old version, replayed with its good signature, is not put in force again: two processes go on refusing", async () => {
    const payer = await payerOf(world);
    const { pay, channelId } = await payer.channel();
    const held = await moneyOf(world, payer.account.address);
    const open = policyOf(payer.account.address, {}, { version: 1 });
    await inForce(world.url, payer.account, open);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }, { version: 2 }));
    for (const url of [world.url, cutOff.url]) expect(await codeOf(await applyPolicy(url, payer.account, open))).equal("policy_version_stale");
    for (const url of [world.url, cutOff.url]) {
      await cutOff.relayer.deps.policies.changed();
      expect(await codeOf(await pay(2_000n, `${url}/s/echo/`))).equal("firewall_rejected");
      expect(await codeOf(await payer.exact(`${url}/s/echo/`))).equal("firewall_rejected");
    }
    await assertSpent(world, payer.account.address, { charged: 1_000n, held, channelId });
  });

  it("a process that is cut off from the database lets nothing pass, and hears of the change before anything else", async () => {
    const payer = await payerOf(world);
    const { pay, channelId } = await payer.channel();
    const held = await moneyOf(world, payer.account.address);
    await inForce(world.url, payer.account, policyOf(payer.account.address, {}, { version: 1 }));
    await cutOff.relayer.deps.policies.changed();
    const there = `${cutOff.url}/s/echo/`;
    proxy.cut();
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }, { version: 2 }));
    // Until then what it remembers was in force less than a second ago.
    while (cutOff.relayer.deps.policies.isFresh()) await sleep(20);
    const exact = await payer.exactPayment();
    for (const response of [await pay(2_000n, there), await sendPayment(there, exact)]) expect(response.status, await response.text()).equal(503);
    proxy.heal();
    const statuses = new Set<number>();
    for (let n = 0; n < 10; n++) statuses.add((await pay(2_000n, there)).status);
    expect([...statuses].filter((status) => status !== 503 && status !== 403)).deep.equal([]);
    while ((await pay(2_000n, there)).status === 503) await sleep(50);
    expect(await codeOf(await pay(2_000n, there))).equal("firewall_rejected");
    await assertSpent(world, payer.account.address, { charged: 1_000n, held, channelId });
  });

  it("a process whose database does not answer says 503 safe, not what it remembers", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, {}, { version: 1 }));
    const { deps } = cutOff.relayer;
    await deps.policies.changed();
    const asked = {
      identity: { scheme: "exact" as const, token: deps.config.token.address, nonce: `0x${"11".repeat(32)}` as const, requestHash: `0x${"22".repeat(32)}` as const }, paymentId: "pay_x", payer: payer.account.address, payee: addressOf(ROLE.receiver),
      service: "echo", serviceOwner: addressOf(ROLE.receiver), price: 1_000n, resource: "r",
    };
    await admit(deps, asked);
    proxy.stall();
    while (deps.policies.isFresh()) await sleep(20);
    const refused = await Promise.resolve(admit(deps, asked)).then(() => undefined, (error: unknown) => error);
    expect(refused).include({ code: "firewall_stale", status: 503, retry: "safe" });
    proxy.heal();
    while (!deps.policies.isFresh()) await sleep(20);
    await admit(deps, asked);
    await assertSpent(world, payer.account.address, { charged: 0n, held: 1_000_000n });
  });

  it("a process that was held still while the policy changed refuses what reached it meanwhile", async () => {
    const service = { name: "echo", origin: world.provider.origin, upstreamTimeoutMs: 3_000 };
    const held = await startRelayer({ env: testEnvironment(databaseUrl, world.chain.url, [service]), logFile: join(folder, "relayer.log") });
    try {
      await holdStill(held);
    } finally {
      await held.stop();
    }
  });

  async function holdStill(relayer: Service): Promise<void> {
    const payer = await payerOf(world);
    const { buyer, required, channelId } = await payer.channel();
    const there = `${relayer.url}/s/echo/`;
    await inForce(world.url, payer.account, policyOf(payer.account.address, {}, { version: 1 }));
    expect((await buyer.send(await buyer.voucherPayment(required, 2_000n), {}, there)).status).equal(200);
    const money = await moneyOf(world, payer.account.address);
    const [byChannel, exact] = [await buyer.voucherPayment(required, 3_000n), await payer.exactPayment()];
    process.kill(relayer.pid, "SIGSTOP");
    const waiting = [buyer.send(byChannel, {}, there), sendPayment(there, exact)];
    try {
      await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }, { version: 2 }));
      // Longer than what it remembers counts.
      await sleep(1_500);
    } finally {
      process.kill(relayer.pid, "SIGCONT");
    }
    for (const response of await Promise.all(waiting)) expect([403, 503], await response.clone().text()).include(response.status);
    await assertSpent(world, payer.account.address, { charged: 2_000n, held: money, channelId });
  }
});
