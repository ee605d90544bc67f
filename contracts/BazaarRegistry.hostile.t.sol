// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "./interfaces/IBazaarRegistry.sol";
import {BazaarDigests} from "./test-support/BazaarDigests.sol";
import {ScriptedIdentities} from "./test-support/BazaarActors.sol";
import {BazaarWorld} from "./test-support/BazaarWorld.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";

/// @notice Identities that change hands or lie, and the bonds: who gets them, when, and from which tokens.
contract BazaarRegistryHostileTest is BazaarWorld {
    event ServiceBonded(bytes32 indexed serviceId, address indexed from, uint128 amount, uint128 total);
    event ServiceUnbonding(
        bytes32 indexed serviceId, address indexed owner, uint128 amount, uint40 withdrawableAt, uint24 revision
    );
    event ServiceBondWithdrawn(bytes32 indexed serviceId, address indexed owner, uint128 amount, uint128 total);
    event FacilitatorRegistered(address indexed facilitator, string endpoint, bytes32 contentHash, uint128 bond);
    event FacilitatorUnbonding(address indexed facilitator, uint128 amount, uint40 withdrawableAt, bool active);
    event FacilitatorBondWithdrawn(address indexed facilitator, uint128 amount, uint128 total);

    uint256 private constant WEEK = 7 days;

    function setUp() public {
        buildBazaar();
    }

    // ------------------------------------------------------------------ identities

    /// @notice The buyer of an identity has its services at once, and the seller's signatures are worth nothing.
    function test_ownershipIsReadLive() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = agentListed(1);
        bytes32 digest = BazaarDigests.updating(address(bazaar), id, 1, termsAt(9), FOREVER);
        identities.setOwner(AGENT_ID, thief);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.InvalidSignature.selector, thief));
        bazaar.update(key, refOf(terms()), termsAt(9), signed(AGENT_OWNER_KEY, digest));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, agentOwner, thief));
        vm.prank(agentOwner);
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        vm.prank(thief);
        bazaar.update(key, refOf(terms()), termsAt(8), bySender());
        vm.assertTrue(bazaar.isCurrent(id, termsAt(8)), "the new owner's terms");
    }

    function test_identitiesThatAnswerWrongOwnNothing() public {
        (IBazaarRegistry.ServiceKey memory key,) = agentListed(1);
        for (uint256 i = 1; i < 5; i++) {
            identities.setMode(ScriptedIdentities.Mode(i));
            vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.UnknownIdentity.selector, AGENT_ID));
            vm.prank(agentOwner);
            bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        }
        key.agent = type(uint256).max;
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.UnknownIdentity.selector, type(uint256).max - 1));
        bazaar.serviceOwner(key);
    }

    /// @notice Asked for an owner, a registry cannot call back to any effect: it is asked by static calls.
    function test_aReentrantIdentityRegistry() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = agentListed(1);
        bytes32 digest = BazaarDigests.status(address(bazaar), id, 1, IBazaarRegistry.Status.Suspended, FOREVER);
        bytes memory pause = abi.encodeCall(
            bazaar.setStatus, (key, IBazaarRegistry.Status.Suspended, signed(AGENT_OWNER_KEY, digest))
        );
        identities.setHook(address(bazaar), pause);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.UnknownIdentity.selector, AGENT_ID));
        vm.prank(agentOwner);
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        vm.assertTrue(bazaar.services(id).status == IBazaarRegistry.Status.Listed, "unchanged");
    }

    // ------------------------------------------------------------------ bonds of services

    function test_serviceBonds() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(1);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.ZeroAmount.selector));
        vm.prank(payer);
        bazaar.bondService(id, 0);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.UnknownService.selector, idOf(keyOf(9))));
        vm.prank(payer);
        bazaar.bondService(idOf(keyOf(9)), 1);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceBonded(id, payer, 500, 500);
        vm.prank(payer);
        bazaar.bondService(id, 500);

        // Who gave it has no claim to it; the owner has, after the delay.
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, payer, owner));
        vm.prank(payer);
        bazaar.unbondService(key, 500, bySender());
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotEnoughBond.selector, 501, 500));
        vm.prank(owner);
        bazaar.unbondService(key, 501, bySender());
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NothingUnbonding.selector));
        bazaar.withdrawServiceBond(key);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceUnbonding(id, owner, 200, uint40(START + WEEK), 2);
        vm.prank(owner);
        bazaar.unbondService(key, 200, bySender());
        vm.warp(START + WEEK - 1);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.StillBonded.selector, START + WEEK, START + WEEK - 1));
        bazaar.withdrawServiceBond(key);
        vm.warp(START + WEEK);
        uint256 before = bondToken.balanceOf(owner);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceBondWithdrawn(id, owner, 200, 300);
        vm.prank(thief);
        bazaar.withdrawServiceBond(key);
        vm.assertEq(bondToken.balanceOf(owner), before + 200, "paid");
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NothingUnbonding.selector));
        bazaar.withdrawServiceBond(key);
    }

    function test_askingAgainStartsAnew() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(1);
        vm.startPrank(owner);
        bazaar.bondService(id, 500);
        bazaar.unbondService(key, 200, bySender());
        vm.warp(START + 1 days);
        bazaar.unbondService(key, 300, bySender());
        vm.warp(START + WEEK);
        vm.expectRevert(
            abi.encodeWithSelector(IBazaarRegistry.StillBonded.selector, START + WEEK + 1 days, START + WEEK)
        );
        bazaar.withdrawServiceBond(key);
        bazaar.unbondService(key, 0, bySender());
        vm.warp(START + 3 * WEEK);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NothingUnbonding.selector));
        bazaar.withdrawServiceBond(key);
        vm.stopPrank();
        vm.assertEq(uint256(bazaar.serviceBonds(id).amount), 500, "all stands");
    }

    /// @notice A bond goes with the identity: who sells it cannot keep the bond that was asked for.
    function test_theBondGoesToTheOwnerThen() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = agentListed(1);
        vm.startPrank(agentOwner);
        bazaar.bondService(id, 500);
        bazaar.unbondService(key, 500, bySender());
        vm.stopPrank();
        identities.setOwner(AGENT_ID, payer);
        vm.warp(START + WEEK);
        uint256 before = bondToken.balanceOf(payer);
        vm.prank(agentOwner);
        bazaar.withdrawServiceBond(key);
        vm.assertEq(bondToken.balanceOf(payer), before + 500, "paid");
    }

    function test_crookedTokensBondNothing() public {
        (, bytes32 id) = listed(1);
        bondToken.setMode(ScriptedToken.Mode.FeeOnTransfer);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.WrongTokenBalance.selector, 99, 100));
        vm.prank(payer);
        bazaar.bondService(id, 100);
        bondToken.setMode(ScriptedToken.Mode.Overpays);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.WrongTokenBalance.selector, 101, 100));
        vm.prank(payer);
        bazaar.bondService(id, 100);
        bondToken.setMode(ScriptedToken.Mode.ReturnsFalse);
        vm.expectRevert();
        vm.prank(payer);
        bazaar.bondService(id, 100);
        vm.assertEq(uint256(bazaar.serviceBonds(id).amount), 0, "bond");
    }

    /// @notice A token that calls back while it pays out finds nothing more to take.
    function test_aReentrantTokenTakesNothingTwice() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(1);
        vm.startPrank(owner);
        bazaar.bondService(id, 500);
        bazaar.unbondService(key, 100, bySender());
        vm.stopPrank();
        vm.warp(START + WEEK);
        bondToken.setHook(address(bazaar), abi.encodeCall(bazaar.withdrawServiceBond, (key)));
        bazaar.withdrawServiceBond(key);
        vm.assertTrue(bondToken.hookCalls() == 1 && !bondToken.hookOk(), "called back in vain");
        vm.assertEq(bondToken.balanceOf(address(bazaar)), 400, "left");
    }

    function test_bondsFitTheirSlot() public {
        (, bytes32 id) = listed(1);
        uint256 most = type(uint104).max;
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.BondTooLarge.selector, most + 1));
        vm.prank(payer);
        bazaar.bondService(id, uint128(most + 1));
    }

    // ------------------------------------------------------------------ facilitators

    function test_facilitators() public {
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.BondTooSmall.selector, 999, 1_000));
        bazaar.registerFacilitator("https://relayer.example", "hash", 999);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.InvalidTerms.selector, IBazaarRegistry.Term.Uri));
        bazaar.registerFacilitator("", "hash", 1_000);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotFacilitator.selector, payer));
        bazaar.unbondFacilitator(0);

        vm.expectEmit(true, true, true, true, address(bazaar));
        emit FacilitatorRegistered(payer, "https://relayer.example", "hash", 1_500);
        bazaar.registerFacilitator("https://relayer.example", "hash", 1_500);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit FacilitatorRegistered(payer, "https://new.example", "hash", 1_500);
        bazaar.registerFacilitator("https://new.example", "hash", 0);

        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.BondTooSmall.selector, 999, 1_000));
        bazaar.unbondFacilitator(501);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotEnoughBond.selector, 1_501, 1_500));
        bazaar.unbondFacilitator(1_501);
        bazaar.unbondFacilitator(500);
        // What is on its way out does not stand behind a new registration.
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit FacilitatorUnbonding(payer, 1_500, uint40(START + WEEK), false);
        bazaar.unbondFacilitator(1_500);
        vm.assertTrue(!bazaar.facilitators(payer).active, "active");
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.BondTooSmall.selector, 0, 1_000));
        bazaar.registerFacilitator("https://new.example", "hash", 0);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.StillBonded.selector, START + WEEK, START));
        bazaar.withdrawFacilitatorBond();
        vm.warp(START + WEEK);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit FacilitatorBondWithdrawn(payer, 1_500, 0);
        bazaar.withdrawFacilitatorBond();
        vm.stopPrank();
        vm.assertEq(bondToken.balanceOf(payer), 1e12, "all back");
    }

    /// @notice One's bond is never another's: a stranger with no bond takes nothing of it.
    function test_bondsAreKeptApart() public {
        (, bytes32 id) = listed(1);
        vm.prank(owner);
        bazaar.bondService(id, 5_000);
        vm.startPrank(thief);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NothingUnbonding.selector));
        bazaar.withdrawFacilitatorBond();
        IBazaarRegistry.ServiceKey memory own = IBazaarRegistry.ServiceKey(0, thief, 0);
        bazaar.list(own, terms(), true, bySender());
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotEnoughBond.selector, 1, 0));
        bazaar.unbondService(own, 1, bySender());
        vm.stopPrank();
    }
}
