// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BazaarWorld} from "./BazaarWorld.sol";
import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @notice Random providers, buyers of identities, payers and thieves on one open bazaar. Each action knows what must happen and
/// insists on it; the sums of what was rated and bonded are kept beside, from the events' own figures.
contract BazaarHandler is BazaarWorld {
    uint256 internal constant SERVICES = 3;
    uint256 internal constant PEOPLE = 4;

    struct Sums {
        uint256 count;
        uint256 sum;
        uint256 weight;
        uint256 weightedSum;
    }

    IBazaarRegistry.ServiceKey[SERVICES] private keys;
    bytes32[SERVICES] public serviceIds;
    uint128[SERVICES] private prices;
    uint24[SERVICES] private revisions;
    uint256[PEOPLE] private personKeys;
    Sums[SERVICES] private sums;
    /// What was claimed and what was rated of each channel, by payer and salt.
    mapping(uint256 channel => uint128) private claimed;
    mapping(uint256 channel => uint128) private rated;
    uint256 private bonded;
    uint256 private facilitatorBonded;
    mapping(bytes4 action => uint256) public effects;

    constructor() {
        buildBazaar();
        personKeys = [AGENT_OWNER_KEY, PAYER_KEY, OTHER_PAYER_KEY, THIEF_KEY];
        (keys[0],) = listed(0);
        (keys[1],) = agentListed(1);
        (keys[2],) = agentListed(2);
        for (uint256 i = 0; i < SERVICES; i++) {
            (serviceIds[i], prices[i], revisions[i]) = (idOf(keys[i]), terms().offer.price, 1);
        }
    }

    function _person(uint256 seed) private view returns (uint256 key, address who) {
        key = personKeys[seed % PEOPLE];
        who = vm.addr(key);
    }

    function _ownerOf(uint256 service) private view returns (address) {
        return service == 0 ? owner : bazaar.serviceOwner(keys[service]);
    }

    // ------------------------------------------------------------------ paying and rating

    function claim(uint256 seed) external {
        (uint256 key,) = _person(seed);
        uint256 salt = random(seed, "salt") % 2;
        uint256 channel = key * 2 + salt;
        uint128 total = claimed[channel] + uint128(bound(random(seed, "amount"), 1, 1_000));
        pay(channelOf(key, payTo, salt), key, total);
        claimed[channel] = total;
        effects[this.claim.selector]++;
    }

    /// @dev One try at a rating.
    struct Try {
        uint256 key;
        address who;
        uint256 salt;
        uint256 service;
        uint256 channel;
        uint128 upTo;
        uint8 score;
        address sender;
    }

    /// @notice Any amount, claimed or not, rated or not: it counts exactly when it was claimed and not rated yet.
    function rate(uint256 seed) external {
        Try memory t;
        (t.key, t.who) = _person(seed);
        t.salt = random(seed, "salt") % 2;
        t.service = random(seed, "service") % SERVICES;
        t.channel = t.key * 2 + t.salt;
        t.upTo = claimed[t.channel];
        if (seed % 2 == 1) t.upTo = uint128(bound(random(seed, "up to"), 0, uint256(t.upTo) + 2));
        t.score = uint8(random(seed, "score") % 103);
        t.sender = seed % 5 == 0 ? owner : t.who;
        bool may = _mayRate(t);
        bytes memory call_ = _callOf(t);
        vm.prank(t.sender);
        (bool ok,) = address(bazaar).call(call_);
        vm.assertEq(ok, may, "rated");
        if (ok) _add(t);
    }

    function _mayRate(Try memory t) private view returns (bool) {
        bool isNew = t.upTo > rated[t.channel] && t.upTo <= claimed[t.channel];
        return isNew && t.score <= 100 && t.sender == t.who && t.who != _ownerOf(t.service);
    }

    function _callOf(Try memory t) private view returns (bytes memory) {
        IBazaarRegistry.ChannelPayment memory payment =
            IBazaarRegistry.ChannelPayment(address(channels), channelOf(t.key, payTo, t.salt), t.upTo);
        bytes32 offer = refOf(termsAt(prices[t.service])).offerHash;
        return abi.encodeCall(bazaar.rateChannel, (keys[t.service], offer, payment, opinion(t.score)));
    }

    function _add(Try memory t) private {
        uint256 amount = t.upTo - rated[t.channel];
        rated[t.channel] = t.upTo;
        Sums storage s = sums[t.service];
        (s.count, s.sum) = (s.count + 1, s.sum + t.score);
        (s.weight, s.weightedSum) = (s.weight + amount, s.weightedSum + amount * t.score);
        effects[this.rate.selector]++;
    }

    // ------------------------------------------------------------------ listings

    function sellIdentity(uint256 seed) external {
        (, address who) = _person(seed);
        identities.setOwner(AGENT_ID, who);
    }

    function update(uint256 seed) external {
        (, address who) = _person(seed);
        uint256 service = random(seed, "service") % SERVICES;
        if (seed % 3 == 0) who = owner;
        uint128 price = uint128(random(seed, "price"));
        IBazaarRegistry.TermsRef memory previous = refOf(termsAt(prices[service]));
        bool may = who == _ownerOf(service);
        vm.prank(who);
        try bazaar.update(keys[service], previous, termsAt(price), bySender()) {
            vm.assertTrue(may, "changed by a stranger");
            (prices[service], revisions[service]) = (price, revisions[service] + 1);
            effects[this.update.selector]++;
        } catch {
            vm.assertTrue(!may, "refused its owner");
        }
    }

    // ------------------------------------------------------------------ bonds

    function bond(uint256 seed) external {
        (, address who) = _person(seed);
        uint128 amount = uint128(bound(random(seed, "amount"), 1, 10_000));
        vm.prank(who);
        bazaar.bondService(serviceIds[random(seed, "service") % SERVICES], amount);
        bonded += amount;
    }

    function unbond(uint256 seed) external {
        uint256 service = random(seed, "service") % SERVICES;
        uint128 amount = bazaar.serviceBonds(serviceIds[service]).amount / 2;
        vm.prank(_ownerOf(service));
        bazaar.unbondService(keys[service], amount, bySender());
        revisions[service]++;
    }

    function withdraw(uint256 seed) external {
        uint256 service = seed % SERVICES;
        IBazaarRegistry.Bond memory b = bazaar.serviceBonds(serviceIds[service]);
        bool may = b.unbonding != 0 && block.timestamp >= b.withdrawableAt;
        try bazaar.withdrawServiceBond(keys[service]) {
            vm.assertTrue(may, "too early");
            bonded -= b.unbonding;
            effects[this.withdraw.selector]++;
        } catch {
            vm.assertTrue(!may, "refused a bond");
        }
    }

    function facilitate(uint256 seed) external {
        (, address who) = _person(seed);
        uint128 amount = uint128(bound(random(seed, "amount"), FACILITATOR_BOND, 10_000));
        vm.prank(who);
        bazaar.registerFacilitator("https://relayer.example", "hash", amount);
        facilitatorBonded += amount;
    }

    function retire(uint256 seed) external {
        (, address who) = _person(seed);
        IBazaarRegistry.Bond memory b = bazaar.facilitators(who);
        vm.startPrank(who);
        if (b.active) {
            bazaar.unbondFacilitator(b.amount);
        } else if (b.unbonding != 0 && block.timestamp >= b.withdrawableAt) {
            bazaar.withdrawFacilitatorBond();
            facilitatorBonded -= b.unbonding;
        }
        vm.stopPrank();
    }

    function warp(uint256 seed) external {
        vm.warp(block.timestamp + bound(seed, 1, 5 days));
    }

    // ------------------------------------------------------------------ what must hold

    function checkRatings() external view {
        uint256 weight;
        for (uint256 i = 0; i < SERVICES; i++) {
            IBazaarRegistry.RatingTotals memory t = bazaar.ratings(serviceIds[i], address(token));
            vm.assertEq(t.count, sums[i].count, "count");
            vm.assertEq(t.sum, sums[i].sum, "sum");
            vm.assertEq(t.weight, sums[i].weight, "weight");
            vm.assertEq(t.weightedSum, sums[i].weightedSum, "weighted sum");
            weight += t.weight;
        }
        (uint128 everClaimed,) = channels.receivers(payTo, address(token));
        vm.assertLe(weight, everClaimed, "rated more than was paid");
    }

    function checkListings() external view {
        for (uint256 i = 0; i < SERVICES; i++) {
            vm.assertTrue(bazaar.isCurrent(serviceIds[i], termsAt(prices[i])), "terms");
            vm.assertEq(uint256(bazaar.services(serviceIds[i]).revision), uint256(revisions[i]), "revision");
        }
    }

    function checkBonds() external view {
        uint256 total;
        for (uint256 i = 0; i < SERVICES; i++) {
            total += bazaar.serviceBonds(serviceIds[i]).amount;
        }
        vm.assertEq(total, bonded, "bonds of services");
        for (uint256 i = 0; i < PEOPLE; i++) {
            total += bazaar.facilitators(vm.addr(personKeys[i])).amount;
        }
        vm.assertEq(total, bonded + facilitatorBonded, "bonds");
        vm.assertEq(bondToken.balanceOf(address(bazaar)), total, "tokens");
    }
}
