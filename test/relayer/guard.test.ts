// The guard that a relayer hosts: two processes over one ledger, real chain and HTTP.
import { expect } from "chai";
import { numberToHex } from "viem";
import { signIn } from "../../sdk/src/access.ts";
import { ChannelBook } from "../../sdk/src/agent/channel.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { GuardClient } from "../../sdk/src/guard/client.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { idsOf, type Lineage } from "../../sdk/src/lineage.ts";
import { mandateRegistryDomain } from "../../sdk/src/mandate.ts";
import { registerWithRelayer } from "../../sdk/src/mandate-register.ts";
import { delegateMandate } from "../../sdk/src/mandates.ts";
import { readLineage } from "../../sdk/src/registry.ts";
import { channelIdOf, sessionChannelsDomain } from "../../sdk/src/typed-data.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { agentUnder, AT, grant, newAccount, newPrincipal, type Principal } from "../support/mandates.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1_000n;
const DOMAIN = mandateRegistryDomain(AT.chainId, AT.registry);
const KEY = `0x${"3c".repeat(32)}`;

describe("guard hosted by a relayer", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let other: { url: string };
  let principal: Principal;

  before(async () => {
    world = await startTestWorld({ env: { RELAYER_GUARD_KEY: KEY } });
    other = await world.anotherRelayer();
    principal = await newPrincipal(world.chain.url);
  });
  after(() => world.stop());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const guardAt = (origin: string) => `${origin}/api/v1/guard`;
  const idOf = (lineage: Lineage) => idsOf(DOMAIN, lineage)[0]!;
  const accountOf = async (lineage: Lineage) => (await world.relayer.deps.db.query("SELECT spent_atomic FROM guard_account WHERE mandate_id = $1::bytea", [Buffer.from(idOf(lineage).slice(2), "hex")])).rows[0]?.spent_atomic as bigint | undefined;
  const refusal = async (work: Promise<unknown>): Promise<TallystickError> => {
    const error = await work.then(() => undefined, (reason: unknown) => reason);
    expect(error, "it was not refused").instanceOf(TallystickError);
    return error as TallystickError;
  };
  async function registered(wishes: Parameters<typeof grant>[2] = {}) {
    const account = newAccount();
    const lineage = await grant(principal, account.address, wishes);
    await registerWithRelayer({ relayerUrl: world.url, account, lineage });
    return { account, lineage };
  }

  it("signs for a registered mandate, counts, binds its key in the ledger, and writes what it signed to the audit log", async () => {
    const { account, lineage } = await registered({ payees: [addressOf(ROLE.receiver)] });
    const { agent, payments } = agentUnder(world.chain.url, account, lineage, guardAt(world.url));
    for (let call = 0; call < 3; call++) expect((await agent.fetch(url(`/${call}`))).status).equal(200);
    const channel = (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
    expect(channel.charged).equal(3n * PRICE);
    expect((await accountOf(lineage))! >= 3n * PRICE).equal(true);
    const { rows } = await world.relayer.deps.db.query("SELECT spent_atomic FROM mandate WHERE mandate_id = $1::bytea", [Buffer.from(idOf(lineage).slice(2), "hex")]);
    expect(rows).length(1);
  });

  it("looks after no mandate that is not registered here", async () => {
    const account = newAccount();
    const lineage = await grant(principal, account.address);
    const { agent } = agentUnder(world.chain.url, account, lineage, guardAt(world.url));
    expect(await refusal(agent.fetch(url()))).include({ code: "mandate_not_registered", status: 403 });
  });

  it("a refusal is in the audit log when it is told, with its rule, and nothing moved", async () => {
    const { account, lineage } = await registered({ paymentLimit: PRICE - 1n });
    const { agent } = agentUnder(world.chain.url, account, lineage, guardAt(world.url));
    const error = await refusal(agent.fetch(url()));
    expect(error).include({ code: "mandate_payment_limit", status: 403 });
    expect(error.extra["rule"]).equal("mandate.paymentLimit");
    const { rows } = await world.relayer.deps.db.query<{ entries: bigint }>(
      "SELECT count(*) AS entries FROM (SELECT kind, subject FROM audit_outbox UNION ALL SELECT kind, subject FROM audit_entry) written WHERE kind = 'guard.refused' AND subject = $1", [idOf(lineage)]);
    expect(rows[0]!.entries).equal(1n);
    expect(await accountOf(lineage)).equal(undefined);
    expect((await readLineage(principal.reader, AT.registry, lineage, [idOf(lineage)])).states[0]!.spent).equal(0n);
  });

  it("signs no more once this relayer was told of a revocation, before the chain knows, and a refusal leaves no channel", async () => {
    const { account, lineage } = await registered();
    const { agent } = agentUnder(world.chain.url, account, lineage, guardAt(other.url));
    expect((await agent.fetch(url("/before"))).status).equal(200);
    const { token } = await signIn({ relayerUrl: world.url, account: principal.account });
    const revoked = await fetch(`${world.url}/api/v1/mandates/${idOf(lineage)}/revoke`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    expect(revoked.status, await revoked.clone().text()).equal(200);
    expect((await readLineage(principal.reader, AT.registry, lineage, [idOf(lineage)])).states[0]!.revoked).equal(false);
    const rows = async () => (await world.relayer.deps.db.query<{ n: bigint }>("SELECT count(*) AS n FROM guard_channel")).rows[0]!.n;
    const before = await rows();
    expect((await refusal(agent.fetch(url("/after")))).extra["rule"]).equal("mandate.revoked");
    const client = new GuardClient({ url: guardAt(other.url), account, mandate: lineage, ...AT });
    const config = { payer: principal.account.address, payerAuthorizer: await client.authorizer(), receiver: addressOf(ROLE.receiver), receiverAuthorizer: addressOf(ROLE.authorizer), token: lineage[0].mandate.token, withdrawDelay: 900, salt: numberToHex(77, { size: 32 }) };
    const channelId = channelIdOf(sessionChannelsDomain(AT.chainId, SESSION_CHANNELS), config);
    const accepts = { scheme: "batch-settlement", network: "eip155:84532", amount: String(PRICE), asset: config.token, payTo: config.receiver, extra: { withdrawDelay: 900 } };
    const asked = client.voucher(new ChannelBook({ channelId, config, signed: 0n, charged: 0n, balance: PRICE }), { ceiling: PRICE, price: PRICE }, { method: "GET", url: url(), body: undefined, price: PRICE, accepts });
    expect((await refusal(asked)).extra["rule"]).equal("mandate.revoked");
    expect(await rows()).equal(before);
  });

  it("two agents that race for the last unit through two processes get it once", async () => {
    const { account, lineage } = await registered({ limit: 10n * PRICE });
    const agents = await Promise.all([world.url, other.url].map(async (origin) => {
      const key = newAccount();
      const below = await delegateMandate(account, AT, lineage, { delegate: key.address });
      await registerWithRelayer({ relayerUrl: world.url, account: key, lineage: below });
      return agentUnder(world.chain.url, key, below, guardAt(origin), { deposit: { calls: 1 } }).agent;
    }));
    const calls = agents.map(async (agent) => {
      let served = 0;
      for (;;) {
        const error = await agent.fetch(url(`/${served}`)).then((response) => void expect(response.status).equal(200), (reason: unknown) => reason as TallystickError);
        if (error === undefined) served += 1;
        else return { served, code: error.code };
      }
    });
    const done = await Promise.all(calls);
    for (const { code } of done) expect(code).oneOf(["mandate_exhausted", "payment_refused"]);
    // Who loses the race for the last deposit leaves that unit unspent; none is ever spent twice.
    const served = done.reduce((sum, one) => sum + one.served, 0);
    expect(served).within(8, 10);
    expect((await accountOf(lineage))!).satisfy((spent: bigint) => spent >= BigInt(served) * PRICE && spent <= 10n * PRICE);
    expect((await readLineage(principal.reader, AT.registry, lineage, [idOf(lineage)])).states[0]!.spent <= 10n * PRICE).equal(true);
  });

  it("of two hundred requests for one unit, to two processes, exactly one is signed", async () => {
    const { account, lineage } = await registered({ limit: PRICE });
    const clients = [world.url, other.url].map((origin) => new GuardClient({ url: guardAt(origin), account, mandate: lineage, ...AT }));
    const [authorizer] = await Promise.all(clients.map((client) => client.authorizer()));
    const accepts = { scheme: "batch-settlement", network: "eip155:84532", amount: String(PRICE), asset: lineage[0].mandate.token, payTo: addressOf(ROLE.receiver), extra: { withdrawDelay: 900 } };
    // Each on a channel of its own: every one of them is worth the whole budget.
    const outcomes = await Promise.allSettled(Array.from({ length: 200 }, (_, index) => {
      const config = { payer: principal.account.address, payerAuthorizer: authorizer!, receiver: addressOf(ROLE.receiver), receiverAuthorizer: addressOf(ROLE.authorizer), token: lineage[0].mandate.token, withdrawDelay: 900, salt: numberToHex(index, { size: 32 }) };
      const channelId = channelIdOf(sessionChannelsDomain(AT.chainId, SESSION_CHANNELS), config);
      const book = new ChannelBook({ channelId, config, signed: 0n, charged: 0n, balance: PRICE });
      return clients[index % 2]!.voucher(book, { ceiling: PRICE, price: PRICE }, { method: "GET", url: url(), body: undefined, price: PRICE, accepts });
    }));
    const codes = outcomes.map((outcome) => (outcome.status === "fulfilled" ? "signed" : (outcome.reason as TallystickError).code));
    expect(codes.filter((code) => code === "signed")).length(1);
    expect(codes.filter((code) => code === "mandate_exhausted")).length(199);
    expect(await accountOf(lineage)).equal(PRICE);
  });

  it("shows its accounts to the mandate's parties alone", async () => {
    const { account, lineage } = await registered();
    const client = new GuardClient({ url: guardAt(world.url), account, mandate: lineage, ...AT });
    await client.authorizer();
    expect(await refusal(client.status())).include({ status: 401 });
  });

  it("is not there without its key", async () => {
    const plain = await world.anotherRelayer({ RELAYER_GUARD_KEY: "" });
    expect((await fetch(`${plain.url}/api/v1/guard/vouchers`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).status).equal(404);
  });
});
