// An agent that pays under a mandate: its own key alone, vouchers from a guard, deposits through the registry. Real chain, relayer, HTTP.
import { expect } from "chai";
import type { Address, Hex } from "viem";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import { memoryStorage } from "../../sdk/src/agent/storage.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { idsOf } from "../../sdk/src/lineage.ts";
import { mandateRegistryDomain } from "../../sdk/src/mandate.ts";
import { bumpEpoch, delegateMandate, revokeMandate } from "../../sdk/src/mandates.ts";
import { readLineage } from "../../sdk/src/registry.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { agentUnder, AT, grant, newAccount, newPrincipal, startTestGuard, type Principal, type TestGuard } from "../support/mandates.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1_000n;
const PAYEE = addressOf(ROLE.receiver);
const DOMAIN = mandateRegistryDomain(AT.chainId, AT.registry);

for (const mode of ["tallystick", "canonical"]) {
  describe(`agent under a mandate, settling ${mode}`, function () {
    this.timeout(180_000);
    let world: TestWorld;
    let principal: Principal;
    let guard: TestGuard;

    before(async () => {
      world = await startTestWorld({ env: { RELAYER_SETTLEMENT_MODE: mode } });
      principal = await newPrincipal(world.chain.url);
      guard = await startTestGuard(world.chain.url);
    });
    after(async () => {
      await guard.close();
      await world.stop();
    });

    const url = (path = "/") => `${world.url}/s/echo${path}`;
    const spentOnChain = async (lineage: Awaited<ReturnType<typeof grant>>) => (await readLineage(principal.reader, AT.registry, lineage, idsOf(DOMAIN, lineage))).states[0]!.spent;
    const refusal = async (work: Promise<unknown>): Promise<TallystickError> => {
      const error = await work.then(() => undefined, (reason: unknown) => reason);
      expect(error, "it was not refused").instanceOf(TallystickError);
      return error as TallystickError;
    };

    it("pays with the principal's money and its own key, one deposit and one voucher a call", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address, { payees: [PAYEE] });
      const { agent, payments } = agentUnder(world.chain.url, account, lineage, guard.url);
      for (let call = 0; call < 5; call++) expect((await agent.fetch(url(`/${call}`), { method: "POST", body: `${call}` })).status).equal(200);
      expect(payments.map(({ charged }) => charged)).deep.equal(Array(5).fill(PRICE));
      const channel = (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
      expect(channel.config.payer).equal(principal.account.address);
      expect(channel.charged).equal(5n * PRICE);
      expect(await spentOnChain(lineage)).equal(channel.balance);
      const [mandateId] = idsOf(DOMAIN, lineage);
      const { accounts, channels } = await guard.guard.status(mandateId!);
      expect(accounts[0]!.spent).equal(channels[0]!.highest);
      expect(channels[0]!.approved).equal(5n * PRICE);
      expect(Number(channels[0]!.highest)).within(Number(5n * PRICE), Number(5n * PRICE + 64n));
      expect(await agent.spent()).equal(channels[0]!.highest);
    });

    it("has many calls in flight, and the guard's sum, the charge and the chain agree", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address);
      const { agent, payments } = agentUnder(world.chain.url, account, lineage, guard.url);
      await agent.fetch(url());
      await Promise.all(Array.from({ length: 48 }, async (_, call) => expect((await agent.fetch(url(`/${call}`))).status).equal(200)));
      const channel = (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
      expect(channel.charged).equal(49n * PRICE);
      const { accounts } = await guard.guard.status(idsOf(DOMAIN, lineage)[0]!);
      expect(accounts[0]!.spent >= channel.charged).equal(true);
    });

    it("a payee that the mandate does not name is refused by name of the rule, and nothing moves", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address, { payees: [newAccount().address] });
      const { agent } = agentUnder(world.chain.url, account, lineage, guard.url);
      const before = world.provider.seen.length;
      const error = await refusal(agent.fetch(url()));
      expect(error).include({ code: "mandate_payee_not_allowed", status: 403, retry: "never" });
      expect(error.extra).deep.include({ decision: "REJECTED", rule: "mandate.payees" });
      expect((error.extra["proof"] as { money_never_moved: boolean; audit: { seq: number } }).money_never_moved).equal(true);
      expect(await agent.spent()).equal(0n);
      expect(await spentOnChain(lineage)).equal(0n);
      expect(world.provider.seen.length).equal(before);
    });

    it("spends the last unit and not one more", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address, { limit: 7n * PRICE });
      const { agent, payments } = agentUnder(world.chain.url, account, lineage, guard.url);
      for (let call = 0; call < 7; call++) expect((await agent.fetch(url())).status).equal(200);
      expect(await refusal(agent.fetch(url()))).include({ code: "mandate_exhausted", status: 403 });
      const channel = (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
      expect(channel.charged).equal(7n * PRICE);
      expect(await spentOnChain(lineage)).equal(7n * PRICE);
    });

    it("a sub-agent spends less, its parent is charged with it, and none gets past either limit", async () => {
      const [parent, child] = [newAccount(), newAccount()];
      const above = await grant(principal, parent.address, { limit: 10n * PRICE });
      const below = await delegateMandate(parent, AT, above, { delegate: child.address, limit: 4n * PRICE });
      const sub = agentUnder(world.chain.url, child, below, guard.url);
      for (let call = 0; call < 4; call++) expect((await sub.agent.fetch(url())).status).equal(200);
      expect(await refusal(sub.agent.fetch(url()))).include({ code: "mandate_exhausted" });
      const main = agentUnder(world.chain.url, parent, above, guard.url);
      for (let call = 0; call < 6; call++) expect((await main.agent.fetch(url())).status).equal(200);
      expect(await refusal(main.agent.fetch(url()))).include({ code: "mandate_exhausted" });
      expect(await spentOnChain(above)).equal(10n * PRICE);
      expect(await spentOnChain(below)).equal(4n * PRICE);
    });

    it("a revoked mandate, and one of an older epoch, buy nothing more", async () => {
      const [first, second] = [newAccount(), newAccount()];
      const another = await newPrincipal(world.chain.url, "1");
      const [one, two] = [await grant(another, first.address), await grant(another, second.address)];
      const [a, b] = [agentUnder(world.chain.url, first, one, guard.url), agentUnder(world.chain.url, second, two, guard.url)];
      await a.agent.fetch(url());
      await b.agent.fetch(url());
      await revokeMandate(another.writer, another.reader, AT, one);
      await new Promise((later) => setTimeout(later, 150)); // the guard's view of the chain may be that old
      expect(await refusal(a.agent.fetch(url()))).include({ code: "mandate_revoked" });
      expect((await b.agent.fetch(url())).status).equal(200);
      await bumpEpoch(another.writer, another.reader, AT);
      await new Promise((later) => setTimeout(later, 150));
      expect((await refusal(b.agent.fetch(url()))).extra["rule"]).equal("mandate.epoch");
    });

    it("goes on after the guard was restarted, and after the agent lost its records", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address);
      const own = await startTestGuard(world.chain.url);
      const { agent, payments } = agentUnder(world.chain.url, account, lineage, own.url);
      await agent.fetch(url());
      await agent.fetch(url());
      const again = await own.restart();
      try {
        const forgetful = agentUnder(world.chain.url, account, lineage, again.url, { storage: memoryStorage() });
        expect((await forgetful.agent.fetch(url("/after"))).status).equal(200);
        expect(forgetful.payments[0]!.channelId).equal(payments[0]!.channelId);
        const channel = (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
        expect(channel.charged).equal(3n * PRICE);
      } finally {
        await again.close();
      }
    });

    it("gets back what is not charged, to the principal, and budget stays spent", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address);
      const { agent, payments } = agentUnder(world.chain.url, account, lineage, guard.url);
      await agent.fetch(url());
      const deposited = await spentOnChain(lineage);
      const [done] = await agent.wallet.withdraw();
      expect(done).include({ state: "refunded", channelId: payments[0]!.channelId, amount: deposited - PRICE });
      expect(await spentOnChain(lineage)).equal(deposited);
    });
  });
}

describe("agent under a mandate, without a world", () => {
  it("refuses to be built for another's mandate, or with a guard that is not there", async () => {
    const [owner, agentKey, other] = [newAccount(), newAccount(), newAccount()];
    const lineage = await grant({ account: owner } as Principal, agentKey.address);
    const options = { rpcUrl: "http://127.0.0.1:1", chainId: AT.chainId, mandate: { lineage, guard: "http://127.0.0.1:1", registry: AT.registry } };
    expect(() => createAgent({ account: other, ...options })).throw(TypeError, /delegate/);
    const agent = createAgent({ account: agentKey, ...options, fetch: (async (input: string | URL) => offline(String(input))) as typeof fetch });
    const error = (await agent.fetch("http://seller.example/").catch((reason: unknown) => reason)) as TallystickError;
    expect(error).include({ code: "guard_unreachable", retry: "safe" });
  });

  it("a sub-mandate that is wider than its parent is not signed, whatever is wider", async () => {
    const [owner, agentKey] = [newAccount(), newAccount()];
    const payee = newAccount().address;
    const parent = await grant({ account: owner } as Principal, agentKey.address, { limit: "1", paymentLimit: "0.1", payees: [payee], capability: "text.summary" });
    const wider: [string, Parameters<typeof delegateMandate>[3]][] = [
      ["limit", { delegate: payee, limit: "1.000001", paymentLimit: "0.1" }],
      ["paymentLimit", { delegate: payee, paymentLimit: "0.100001" }],
      ["validUntil", { delegate: payee, validFor: "2d" }],
      ["validAfter", { delegate: payee, validAfter: parent[0].mandate.validAfter - 1 }],
      ["capability", { delegate: payee, capability: "image.render" }],
      ["payees", { delegate: payee, payees: [newAccount().address as Address] }],
    ];
    for (const [field, wishes] of wider) {
      const error = (await delegateMandate(agentKey, AT, parent, wishes).catch((reason: unknown) => reason)) as TallystickError;
      expect(error.code, field).equal("mandate_too_wide");
      expect(error.field, field).match(new RegExp(field));
    }
    const narrower = await delegateMandate(agentKey, AT, parent, { delegate: payee as Hex, limit: "0.5" });
    expect(narrower.length).equal(2);
    expect(narrower[0].mandate).include({ limit: 500_000n, capability: parent[0].mandate.capability, payeesRoot: parent[0].mandate.payeesRoot });
  });
});

function offline(input: string): Response {
  if (input.startsWith("http://127.0.0.1:1")) throw new TypeError("fetch failed");
  const accepts = {
    scheme: "batch-settlement", network: "eip155:84532", amount: "1000", asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", payTo: "0x1111111111111111111111111111111111111111", maxTimeoutSeconds: 60,
    extra: { receiverAuthorizer: "0x2222222222222222222222222222222222222222", withdrawDelay: 900 },
  };
  const header = btoa(JSON.stringify({ x402Version: 2, accepts: [accepts] }));
  return new Response(null, { status: 402, headers: { "payment-required": header } });
}
