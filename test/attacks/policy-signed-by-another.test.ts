// Attack: somebody else writes, changes or widens a policy: with its own key, with a signature meant for something else, or about what is not its.
import { expect } from "chai";
import { privateKeyToAccount } from "viem/accounts";
import { canonicalJson, parsePolicy, type Policy } from "../../sdk/src/firewall/policy.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { applyPolicy, assertSpent, inForce, moneyOf, payerOf, policyOf, postTo, signPolicy, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("attack: policy signed by another", function () {
  this.timeout(240_000);
  const thief = privateKeyToAccount(keyOf(9));
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
  });
  after(() => world.stop());

  it("nothing but the owner's own signature of these very words changes what the owner's money may do", async () => {
    const owner = await payerOf(world);
    const { pay, channelId } = await owner.channel();
    const held = await moneyOf(world, owner.account.address);
    const strict = policyOf(owner.account.address, { stop: true });
    await inForce(world.url, owner.account, strict);
    const open = policyOf(owner.account.address, {}, { version: 2 });
    const post = async (policy: unknown, signature: string) => {
      const response = await postTo(`${world.url}/api/v1/firewall/policies`, { policy, signature });
      return [response.status, ((await response.json()) as Refused).code];
    };
    const good = await signPolicy(owner.account, strict);
    const forgeries: [Policy, string][] = [
      [open, await signPolicy(thief, open)], [open, good], [{ ...strict, version: 2 }, good], [{ ...strict, rules: open.rules }, good], [{ ...strict, name: "other" }, good],
      [open, await signPolicy(owner.account, open, 8453)], [open, await owner.account.signMessage({ message: canonicalJson(open) })], [open, `0x${"00".repeat(65)}`],
    ];
    for (const [policy, signature] of forgeries) expect(await post(policy, signature)).deep.equal([401, "policy_signature_invalid"]);
    expect([(await pay(2_000n)).status, (await owner.exact()).status]).deep.equal([403, 403]);
    await assertSpent(world, owner.account.address, { charged: 1_000n, held, channelId });
  });

  it("a thief's own policies, in whatever words, neither open nor close another's purse or shop", async () => {
    const owner = await payerOf(world);
    const { pay, channelId } = await owner.channel();
    const shop = privateKeyToAccount(keyOf(ROLE.receiver));
    const own = (name: string, change: object) => parsePolicy({ ...policyOf(thief.address, {}, { name }), ...change });
    for (const policy of [
      own("purse", { rules: { stop: true } }), own("shop", { subject: { kind: "service", services: ["echo"] }, rules: { stop: true } }), own("all-shops", { subject: { kind: "service" }, rules: { stop: true } }),
      own("mandates", { subject: { kind: "mandate" }, rules: { stop: true } }),
    ]) expect((await applyPolicy(world.url, thief, policy)).status).equal(201);
    expect((await pay(2_000n)).status).equal(200);
    expect((await applyPolicy(world.url, thief, own("world", { subject: { kind: "operator" }, rules: { stop: true } }))).status).equal(403);
    await inForce(world.url, shop, policyOf(shop.address, { payees: { allow: [] } }, { name: "shop", subject: { kind: "service", services: ["echo"] } }));
    const held = await moneyOf(world, owner.account.address);
    await inForce(world.url, thief, own("shop", { version: 2, subject: { kind: "service", services: ["echo"] }, rules: {} }));
    expect([(await pay(3_000n)).status, (await owner.exact()).status]).deep.equal([403, 403]);
    await assertSpent(world, owner.account.address, { charged: 2_000n, held, channelId });
  });
});
