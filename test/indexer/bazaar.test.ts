// Services, ratings and facilitators indexed from a real chain: history, hostile text, then reorganisations. Every row is compared with the
// replayed logs and with the registry's own state.
import { expect } from "chai";
import fc from "fast-check";
import { encodeFunctionData, erc20Abi, keccak256, maxUint256, pad, parseAbi, stringToHex, toHex, zeroHash, type Hex, type LocalAccount } from "viem";
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { agentKey, bazaarRegistryDomain, bitmapOf, capabilityTag, SERVICE_CATEGORIES, SERVICE_SCHEMES, SERVICE_STATUSES, serviceIdOf, termsRefOf, type ServiceKey, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, LOCAL_IDENTITY_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";
import { idOf as channelIdOf } from "../support/session.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const DOMAIN = bazaarRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_BAZAAR_REGISTRY);
const BY_SENDER = { deadline: 0n, signature: "0x" } as const;
const FACILITATOR_BOND = 100_000_000n;

type Rows = { items: Record<string, any>[]; totalCount: number };
type Indexer = Awaited<ReturnType<IndexedWorld["index"]>>;
type Write = "list" | "update" | "setStatus" | "rateChannel" | "bondService" | "unbondService" | "withdrawServiceBond" | "registerFacilitator" | "unbondFacilitator" | "withdrawFacilitatorBond";

describe("indexed bazaar", function () {
  this.timeout(240_000);
  let world: IndexedWorld;
  let indexer: Indexer;
  let cast: Record<"provider" | "agentOwner" | "payTo" | "payer" | "facilitator" | "hostile", LocalAccount>;
  let search: ServiceKey;
  let identity: ServiceKey;
  let terms: ServiceTerms;
  let channel: ChannelConfig;

  const encode = (functionName: Write, args: readonly unknown[]): Hex => encodeFunctionData({ abi: bazaarRegistryAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
  const send = (account: LocalAccount, functionName: Write, args: readonly unknown[]) => world.sessions.sendTo(account, LOCAL_BAZAAR_REGISTRY, encode(functionName, args));
  const idOf = (key: ServiceKey): Hex => serviceIdOf(DOMAIN, key);
  const keyOf = (owner: LocalAccount, salt: Hex): ServiceKey => ({ agent: 0n, owner: owner.address, salt: pad(salt) });
  const withOffer = (offer: Partial<ServiceTerms["offer"]>): ServiceTerms => ({ ...terms, offer: { ...terms.offer, ...offer } });
  const rate = (key: ServiceKey, claimed: bigint, score: number, forward = false) =>
    send(cast.payer, "rateChannel", [key, termsRefOf(terms).offerHash, { channels: SESSION_CHANNELS, config: channel, claimed }, { score, details: forward ? pad("0x1d") : zeroHash, forward, ...BY_SENDER }]);
  const claim = async (totalClaimed: bigint) => world.sessions.send(cast.payTo, "claim", [await world.sessions.claimRows([{ config: channel, voucherKey: cast.payer, totalClaimed }])]);

  before(async () => {
    world = await startIndexedWorld();
    const account = (n: number) => world.chain.account(n);
    cast = { provider: account(1), agentOwner: account(2), payTo: account(3), payer: account(4), facilitator: account(5), hostile: account(6) };
    for (const { address } of [cast.provider, cast.payer, cast.facilitator]) await world.chain.mintUSDC(address, 2n * FACILITATOR_BOND);
    for (const who of [cast.provider, cast.facilitator]) await world.sessions.sendTo(who, USDC, encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [LOCAL_BAZAAR_REGISTRY, maxUint256] }));
    await world.sessions.sendTo(cast.agentOwner, LOCAL_IDENTITY_REGISTRY, encodeFunctionData({ abi: parseAbi(["function register()"]), functionName: "register" }));
    search = keyOf(cast.provider, "0x01");
    identity = agentKey(0n, pad("0x02"));
    terms = {
      payTo: cast.payTo.address, token: USDC,
      offer: {
        capability: capabilityTag("web.search"), categories: bitmapOf(SERVICE_CATEGORIES, ["search"]), price: 1_000n, schemes: Number(bitmapOf(SERVICE_SCHEMES, ["exact", "batch-settlement"])), visibility: 0,
        contentHash: keccak256(toHex("metadata")), uri: "https://provider.example/metadata.json",
      },
    };
    channel = { payer: cast.payer.address, payerAuthorizer: cast.payer.address, receiver: cast.payTo.address, receiverAuthorizer: cast.payTo.address, token: USDC, withdrawDelay: 900, salt: pad("0x01") };

    // Some of it is backfilled, some is followed.
    await send(cast.provider, "list", [search, terms, true, BY_SENDER]);
    await send(cast.agentOwner, "list", [identity, terms, false, BY_SENDER]);
    await world.sessions.deposit(channel, cast.payer, 1_000_000n);
    await claim(5_000n);
    [indexer] = await Promise.all([
      world.index(),
      (async () => {
        await rate(search, 5_000n, 90);
        await send(cast.agentOwner, "setStatus", [identity, SERVICE_STATUSES.indexOf("listed"), BY_SENDER]);
        await claim(9_000n);
        await rate(identity, 9_000n, 20, true);
        await send(cast.provider, "update", [search, termsRefOf(terms), withOffer({ price: 900n, visibility: 1 }), BY_SENDER]);
        await send(cast.provider, "bondService", [idOf(search), 70n]);
        await send(cast.provider, "unbondService", [search, 30n, BY_SENDER]);
        await send(cast.facilitator, "registerFacilitator", ["https://relayer.example", pad("0xfa"), FACILITATOR_BOND]);
      })(),
    ]);
  });
  after(() => world.stop());

  async function agreed(): Promise<void> {
    await indexer.waitForBlock(await world.chain.client.getBlockNumber());
    const { differences } = await reconcile({ rpcUrl: world.chain.url, graphqlUrl: indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    expect(differences).to.deep.equal([]);
  }
  const ask = <T = Record<string, Rows>>(query: string, variables: Record<string, unknown> = {}) => graphql<T>(indexer, query, variables);

  it("agree with the replayed logs and the registry, row by row", agreed);

  it("a service is its last terms, with its ratings", async () => {
    const { service } = await ask<{ service: Record<string, any> }>(
      `query ($id: String!) { service(id: $id) { owner agent capabilityTag price visibility status version revision bond unbonding ratingCount statusBy ratings { items { rater amount score details forwarded payTo } } } }`,
      { id: idOf(search) },
    );
    const rating = { rater: cast.payer.address.toLowerCase(), amount: "5000", score: 90, details: null, forwarded: null, payTo: cast.payTo.address.toLowerCase() };
    expect(service).to.deep.equal({
      owner: cast.provider.address.toLowerCase(), agent: "0", capabilityTag: "web.search", price: "900", visibility: "unlisted", status: "listed", version: 2, revision: 3, bond: "70", unbonding: "30", ratingCount: 1,
      statusBy: null, ratings: { items: [rating] },
    });
  });

  it("an identity's service, agent 0, and what the ERC-8004 registry took", async () => {
    const { services } = await ask(`{ services(where: { agent: "1" }) { items { owner status statusBy revision ratings { items { source score details forwarded service { id } } } } } }`);
    const owner = cast.agentOwner.address.toLowerCase();
    const rating = { source: channelIdOf(channel), score: 20, details: pad("0x1d"), forwarded: true, service: { id: idOf(identity) } };
    expect(services!.items).to.deep.equal([{ owner, status: "listed", statusBy: owner, revision: 2, ratings: { items: [rating] } }]);
  });

  it("what a stranger writes on chain does not stop it: NUL, bytes that are no text, script, a tag that is none", async () => {
    const uris = ["a\0b", "<script>alert(1)</script>", "'; DROP TABLE service; --", "\u202Eevil\u0000"];
    for (const [at, uri] of uris.entries()) await send(cast.hostile, "list", [keyOf(cast.hostile, toHex(at + 1)), withOffer({ uri, capability: stringToHex("Not A Tag\0x", { size: 32 }) }), true, BY_SENDER]);
    // 0xff never begins a character.
    const data = encode("list", [keyOf(cast.hostile, "0x77"), withOffer({ uri: "ABCDEFGH", capability: zeroHash.replace("00", "ff") as Hex }), true, BY_SENDER]).replace(toHex("ABCDEFGH").slice(2), "ffc0ff41fe80ff42") as Hex;
    await world.sessions.sendTo(cast.hostile, LOCAL_BAZAAR_REGISTRY, data);
    await agreed();
    const { services } = await ask(`query ($owner: String!) { services(where: { owner: $owner }) { items { uri capabilityTag } } }`, { owner: cast.hostile.address.toLowerCase() });
    expect(services!.items.map(({ uri }) => uri)).to.include.members(["a\uFFFDb", uris[1], uris[2], "\u202Eevil\uFFFD"]);
    expect(services!.items).to.have.lengthOf(5);
    for (const { capabilityTag } of services!.items) expect(capabilityTag).to.equal(null);
  });

  it("bonds: asked for, given back, and a facilitator that leaves and returns", async () => {
    const { timestamp } = await world.chain.client.getBlock();
    await send(cast.facilitator, "unbondFacilitator", [FACILITATOR_BOND]);
    await agreed();
    const facilitators = async () => (await ask(`{ facilitators { items { address endpoint active bond unbonding } } }`))["facilitators"]!.items;
    const row = { address: cast.facilitator.address.toLowerCase(), endpoint: "https://relayer.example" };
    expect(await facilitators()).to.deep.equal([{ ...row, active: false, bond: String(FACILITATOR_BOND), unbonding: String(FACILITATOR_BOND) }]);
    // Back with a new bond while the old one is on its way out.
    await send(cast.facilitator, "registerFacilitator", ["https://two.example", zeroHash, FACILITATOR_BOND]);
    expect(await agreed().then(facilitators)).to.deep.equal([{ ...row, endpoint: "https://two.example", active: true, bond: String(2n * FACILITATOR_BOND), unbonding: String(FACILITATOR_BOND) }]);
    await world.chain.warpTo(timestamp + 8n * 86_400n);
    await send(cast.facilitator, "withdrawFacilitatorBond", []);
    await send(cast.hostile, "withdrawServiceBond", [search]);
    await agreed();
    expect((await facilitators())[0]).to.include({ active: true, bond: String(FACILITATOR_BOND), unbonding: "0" });
    const { service } = await ask<{ service: Record<string, any> }>(`query ($id: String!) { service(id: $id) { bond unbonding bondWithdrawableAt } }`, { id: idOf(search) });
    expect(service).to.deep.equal({ bond: "40", unbonding: "0", bondWithdrawableAt: "0" });
  });

  it("any reorganisation leaves what the chain says", async () => {
    const { chain, sessions } = world;
    let snapshot = await chain.client.snapshot();
    // By a sender each, so that any of them can be mined without the others.
    const raw = {
      update: (await send(cast.provider, "update", [search, termsRefOf(withOffer({ price: 900n, visibility: 1 })), terms, BY_SENDER])).raw,
      pause: (await send(cast.agentOwner, "setStatus", [identity, SERVICE_STATUSES.indexOf("suspended"), BY_SENDER])).raw,
      newcomer: (await send(cast.hostile, "list", [keyOf(cast.hostile, "0x99"), { ...terms, payTo: cast.hostile.address }, true, BY_SENDER])).raw,
      leave: (await send(cast.facilitator, "unbondFacilitator", [FACILITATOR_BOND])).raw,
    };
    await agreed();
    const names = Object.keys(raw) as (keyof typeof raw)[];
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(names), async (mined) => {
        const [old, { timestamp }] = await Promise.all([chain.client.getBlockNumber(), chain.client.getBlock()]);
        await chain.client.revert({ id: snapshot });
        snapshot = await chain.client.snapshot();
        await chain.warpTo(timestamp + 1n);
        for (const name of mined) await sessions.sendRaw(raw[name]);
        while ((await chain.client.getBlockNumber()) <= old) await chain.mineBlocks(1);
        await agreed();
        const { service } = await ask<{ service: Record<string, any> }>(`query ($id: String!) { service(id: $id) { price version } }`, { id: idOf(search) });
        expect(service).to.deep.equal(mined.includes("update") ? { price: "1000", version: 3 } : { price: "900", version: 2 });
        const { services } = await ask(`query ($owner: String!) { services(where: { payTo: $owner }) { totalCount } }`, { owner: cast.hostile.address.toLowerCase() });
        expect(services!.totalCount).to.equal(Number(mined.includes("newcomer")));
      }),
      { numRuns: 6, seed: 1, endOnFailure: true },
    );
  });
});
