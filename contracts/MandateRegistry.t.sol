// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {MandateDigests} from "./test-support/MandateDigests.sol";
import {MandateWorld} from "./test-support/MandateWorld.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";

/// @notice Approving, spending and revoking, verb by verb: refusals first, then what is written and said.
contract MandateRegistryTest is MandateWorld {
    event MandateApproved(
        bytes32 indexed mandateId,
        address indexed principal,
        address indexed delegate,
        IMandateRegistry.Mandate mandate
    );
    event MandateSpent(
        bytes32 indexed mandateId,
        address indexed principal,
        address indexed payee,
        address token,
        uint128 amount,
        uint128 totalSpent
    );
    event MandateRevoked(bytes32 indexed mandateId, address indexed principal, address indexed by);
    event EpochBumped(address indexed principal, uint32 epoch);

    function setUp() public {
        buildMandates();
        vm.warp(START + 100);
    }

    function _refuse(bytes memory reason) private {
        vm.expectRevert(reason);
    }

    // ------------------------------------------------------------------ ids

    function testFuzz_idIsTheTypedDataHash(IMandateRegistry.Mandate memory m) public view {
        vm.assertEq(registry.getMandateId(m), idOf(m), "id");
    }

    /// @notice Bits above a member's type never enter an id: the call reverts.
    function testFuzz_dirtyBitsAreRefused(uint256 member, uint256 bit) public view {
        uint8[15] memory widths = [160, 160, 160, 128, 128, 128, 40, 40, 40, 32, 0, 0, 0, 0, 0];
        member = bound(member, 0, 9);
        bit = bound(bit, widths[member], 255);
        bytes memory data = abi.encodeCall(registry.getMandateId, (mandates[0]));
        assembly {
            let word := add(add(data, 0x24), mul(member, 0x20))
            mstore(word, or(mload(word), shl(bit, 1)))
        }
        (bool ok,) = address(registry).staticcall(data);
        vm.assertTrue(!ok, "dirty bits");
    }

    // ------------------------------------------------------------------ approve

    function test_approveByTheGrantor() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit MandateApproved(ids[0], principal, agent(0), mandates[0]);
        vm.prank(principal);
        registry.approve(lineageOf(0));
        vm.prank(agent(0));
        registry.approve(lineageOf(1));
        IMandateRegistry.MandateState memory state = registry.mandates(ids[1]);
        vm.assertTrue(state.approved && !state.revoked, "approved");
        vm.assertEq(state.depth, 1, "depth");
    }

    function test_approveRefusesStrangers() public {
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotGrantor.selector, thief, principal));
        vm.prank(thief);
        registry.approve(lineageOf(0));
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, principal));
        registry.approveWithSignature(lineageOf(0), signature(THIEF_KEY, ids[0]));
        approveAll();
        // The principal is not the grantor of what its agent grants.
        IMandateRegistry.Mandate memory m = mandates[3];
        m.salt = "another";
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotGrantor.selector, principal, agent(0)));
        vm.prank(principal);
        registry.approve(two(m, mandates[0]));
    }

    function test_approveNeedsItsParent() public {
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, bytes32(0)));
        registry.approve(new IMandateRegistry.Mandate[](0));
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, ids[1]));
        registry.approve(one(mandates[1]));
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, ids[1]));
        registry.approve(two(mandates[1], mandates[4]));
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateNotApproved.selector, ids[0]));
        vm.prank(agent(0));
        registry.approve(lineageOf(1));
    }

    function test_approveTwiceChangesNothing() public {
        approveAll();
        spendAs(agent(0), orderOf(0, payees[0], 7));
        approveAll();
        vm.assertEq(spentOf(ids[0]), 7, "spent");
    }

    function test_approveBatchTakesParentsFirst() public {
        IMandateRegistry.Approval[] memory approvals = new IMandateRegistry.Approval[](3);
        for (uint256 i = 0; i < 3; i++) {
            approvals[i] = IMandateRegistry.Approval(lineageOf(i), i == 0 ? bytes("") : grant(i));
        }
        vm.prank(principal);
        registry.approveBatch(approvals);
        vm.assertEq(registry.mandates(ids[2]).depth, 2, "depth");

        approvals[2].lineage = two(mandates[5], mandates[4]);
        vm.expectRevert();
        registry.approveBatch(approvals);
    }

    function test_uselessMandatesAreRefused() public {
        for (uint256 i = 0; i < 8; i++) {
            IMandateRegistry.Mandate memory m = base();
            if (i == 0) m.delegate = address(0);
            if (i == 1) m.token = address(0);
            if (i == 2) m.limit = 0;
            if (i == 3) m.paymentLimit = 0;
            if (i == 4) m.period = 1;
            if (i == 5) m.periodLimit = 1;
            if (i == 6) (m.validAfter, m.validUntil) = (2, 1);
            if (i == 7) m.principal = address(0);
            _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidMandate.selector, idOf(m)));
            vm.prank(m.principal);
            registry.approve(one(m));
        }
    }

    function test_subMandatesOnlyNarrow() public {
        approveAll();
        for (uint256 i = 0; i < 7; i++) {
            IMandateRegistry.Mandate memory parent = base();
            (parent.capability, parent.validAfter, parent.validUntil) = ("search", START, START + 500);
            vm.prank(principal);
            registry.approve(one(parent));
            IMandateRegistry.Mandate memory m = parent;
            m = abi.decode(abi.encode(parent), (IMandateRegistry.Mandate));
            m.parent = idOf(parent);
            if (i == 0) m.limit++;
            if (i == 1) m.paymentLimit++;
            if (i == 2) m.validAfter--;
            if (i == 3) m.validUntil++;
            if (i == 4) m.capability = 0;
            if (i == 5) m.epoch = 1;
            if (i == 6) m.token = address(1);
            _refuse(abi.encodeWithSelector(IMandateRegistry.WiderThanParent.selector, idOf(m), m.parent));
            vm.prank(agent(0));
            registry.approve(two(m, parent));
            // A stranger's tokens under a mandate of one's own.
            m = abi.decode(abi.encode(parent), (IMandateRegistry.Mandate));
            (m.parent, m.principal) = (idOf(parent), address(principalWallet));
            _refuse(abi.encodeWithSelector(IMandateRegistry.WiderThanParent.selector, idOf(m), m.parent));
            vm.prank(agent(0));
            registry.approve(two(m, parent));
        }
    }

    function test_depthIsLimited() public {
        IMandateRegistry.Mandate[] memory chain = _chain(10);
        for (uint256 depth = 0; depth < 10; depth++) {
            if (depth == 9) _refuse(abi.encodeWithSelector(IMandateRegistry.TooDeep.selector, idOf(chain[9]), 9));
            vm.prank(depth == 0 ? principal : agent(0));
            registry.approve(depth == 0 ? one(chain[0]) : two(chain[depth], chain[depth - 1]));
        }
        IMandateRegistry.Spend memory order = orderOf(chain[0], payees[0], 1);
        order.lineage = new IMandateRegistry.Mandate[](9);
        for (uint256 i = 0; i < 9; i++) {
            order.lineage[i] = chain[8 - i];
        }
        spendAs(agent(0), order);
        vm.assertEq(spentOf(idOf(chain[8])), 1, "leaf");
        vm.assertEq(spentOf(idOf(chain[0])), 1, "root");
        order.lineage = new IMandateRegistry.Mandate[](10);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, bytes32(0)));
        registry.spend(order);
    }

    function _chain(uint256 length) private view returns (IMandateRegistry.Mandate[] memory chain) {
        chain = new IMandateRegistry.Mandate[](length);
        for (uint256 i = 0; i < length; i++) {
            chain[i] = base();
            if (i > 0) chain[i].parent = idOf(chain[i - 1]);
        }
    }

    // ------------------------------------------------------------------ spend

    function test_spendChargesEveryLevel() public {
        approveAll();
        vm.expectEmit(true, true, true, true, address(registry));
        emit MandateSpent(ids[2], principal, payees[0], address(token), 600, 600);
        spendAs(agent(2), orderOf(2, payees[0], 600));
        spendAs(agent(1), orderOf(1, payees[1], 500));
        vm.assertEq(spentOf(ids[2]), 600, "leaf");
        vm.assertEq(spentOf(ids[1]), 1_100, "its parent");
        vm.assertEq(spentOf(ids[0]), 1_100, "the root");
        vm.assertEq(token.balanceOf(payees[0]), 600, "paid");
        vm.assertEq(registry.remaining(lineageOf(2)), 100, "what the middle one's period leaves");
        // 1,200 in 70 seconds is what the middle one allows.
        _refuse(abi.encodeWithSelector(IMandateRegistry.PeriodLimitExceeded.selector, ids[1], 1_201, 1_200));
        spendAs(agent(2), orderOf(2, payees[0], 101));
        vm.warp(START + 10 + 140);
        spendAs(agent(2), orderOf(2, payees[0], 101));
    }

    function test_spendRefusals() public {
        approveAll();
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotDelegate.selector, thief, agent(0)));
        spendAs(thief, orderOf(0, payees[0], 1));
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotDelegate.selector, agent(0), agent(1)));
        spendAs(agent(0), orderOf(1, payees[0], 1));
        _refuse(abi.encodeWithSelector(IMandateRegistry.ZeroAmount.selector));
        spendAs(agent(0), orderOf(0, payees[0], 0));
        _refuse(abi.encodeWithSelector(IMandateRegistry.PaymentLimitExceeded.selector, ids[0], 1_501, 1_500));
        spendAs(agent(0), orderOf(0, payees[0], 1_501));
        _refuse(abi.encodeWithSelector(IMandateRegistry.PayeeNotAllowed.selector, ids[1], payees[2]));
        spendAs(agent(1), orderOf(1, payees[2], 1));
        // Allowed by the parent alone.
        _refuse(abi.encodeWithSelector(IMandateRegistry.PayeeNotAllowed.selector, ids[2], payees[1]));
        spendAs(agent(2), orderOf(2, payees[1], 1));
        // Allowed by the child alone.
        _refuse(abi.encodeWithSelector(IMandateRegistry.PayeeNotAllowed.selector, ids[4], payees[2]));
        spendAs(agent(5), orderOf(5, payees[2], 1));
        IMandateRegistry.Spend memory order = orderOf(2, payees[0], 1);
        order.lineage = two(mandates[2], mandates[0]);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, ids[2]));
        spendAs(agent(2), order);
        order.lineage = one(mandates[2]);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidLineage.selector, ids[2]));
        spendAs(agent(2), order);
    }

    function test_nobodyIsPaidWhereTokensWouldBeLost() public {
        approveAll();
        address[3] memory nobody = [address(0), address(registry), address(channels)];
        for (uint256 i = 0; i < 3; i++) {
            _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidPayee.selector, nobody[i]));
            spendAs(agent(0), orderOf(0, nobody[i], 1));
        }
    }

    function test_validToTheSecond() public {
        approveAll();
        uint40[2] memory inside = [START + 10, START + 2_000];
        for (uint256 i = 0; i < 2; i++) {
            vm.warp(inside[i]);
            spendAs(agent(0), orderOf(0, payees[0], 1));
        }
        vm.warp(START + 9);
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotYetValid.selector, ids[0], START + 10, START + 9));
        spendAs(agent(0), orderOf(0, payees[0], 1));
        vm.warp(START + 2_001);
        _refuse(abi.encodeWithSelector(IMandateRegistry.NoLongerValid.selector, ids[0], START + 2_000, START + 2_001));
        spendAs(agent(0), orderOf(0, payees[0], 1));
        vm.assertEq(registry.remaining(lineageOf(0)), 0, "remaining after the end");
    }

    function test_unlimitedIsCapped() public {
        IMandateRegistry.Mandate memory m = base();
        (m.limit, m.paymentLimit) = (type(uint128).max, type(uint128).max);
        vm.prank(principal);
        registry.approve(one(m));
        vm.assertEq(registry.remaining(one(m)), registry.MAX_SPENT(), "remaining");
        uint128 most = registry.MAX_SPENT();
        token.mint(principal, most);
        spendAs(agent(0), orderOf(m, payees[0], most));
        _refuse(
            abi.encodeWithSelector(
                IMandateRegistry.LimitExceeded.selector, idOf(m), uint256(most) + 1, type(uint128).max
            )
        );
        spendAs(agent(0), orderOf(m, payees[0], 1));
    }

    function test_spendWithSignatureOnce() public {
        approveAll();
        IMandateRegistry.SignedSpend memory row = signed(orderOf(0, payees[0], 5), agentKey(0), 300);
        vm.prank(thief);
        registry.spendWithSignature(row);
        vm.assertTrue(registry.isNonceUsed(ids[0], 300) && !registry.isNonceUsed(ids[0], 44), "nonce");
        _refuse(abi.encodeWithSelector(IMandateRegistry.NonceAlreadyUsed.selector, ids[0], 300));
        registry.spendWithSignature(row);
        row.nonce++;
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, agent(0)));
        registry.spendWithSignature(row);
        row.deadline = START + 99;
        _refuse(abi.encodeWithSelector(IMandateRegistry.SignatureExpired.selector, START + 99, START + 100));
        registry.spendWithSignature(row);
        vm.assertEq(token.balanceOf(payees[0]), 5, "paid once");
    }

    /// @notice The first use approves the whole line, by whoever relays it.
    function test_firstUseApproves() public {
        IMandateRegistry.Spend memory order = orderOf(2, payees[0], 5);
        order.approvals = new bytes[](3);
        (order.approvals[0], order.approvals[1]) = (grant(2), grant(1));
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateNotApproved.selector, ids[0]));
        registry.spendWithSignature(signed(order, agentKey(2), 0));
        order.approvals[2] = signature(THIEF_KEY, ids[0]);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, principal));
        registry.spendWithSignature(signed(order, agentKey(2), 0));
        order.approvals[2] = grant(0);
        registry.spendWithSignature(signed(order, agentKey(2), 0));
        for (uint256 i = 0; i < 3; i++) {
            vm.assertTrue(registry.mandates(ids[i]).approved, "approved");
            vm.assertEq(spentOf(ids[i]), 5, "spent");
        }
    }

    // ------------------------------------------------------------------ revoke

    function test_revokeKillsTheSubtree() public {
        approveAll();
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotRevoker.selector, agent(1)));
        vm.prank(agent(1));
        registry.revoke(lineageOf(1));
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotRevoker.selector, agent(0)));
        vm.prank(agent(0));
        registry.revoke(one(mandates[1]));
        vm.expectEmit(true, true, true, true, address(registry));
        emit MandateRevoked(ids[1], principal, agent(0));
        vm.prank(agent(0));
        registry.revoke(lineageOf(1));
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateIsRevoked.selector, ids[1]));
        spendAs(agent(2), orderOf(2, payees[0], 1));
        vm.assertEq(registry.remaining(lineageOf(2)), 0, "remaining below");
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateIsRevoked.selector, ids[1]));
        registry.approveWithSignature(lineageOf(1), grant(1));
        spendAs(agent(0), orderOf(0, payees[0], 1));
    }

    function test_revokeBeforeApproval() public {
        vm.prank(principal);
        registry.revoke(lineageOf(0));
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateIsRevoked.selector, ids[0]));
        registry.approveWithSignature(lineageOf(0), grant(0));
    }

    function test_revokeWithSignature() public {
        approveAll();
        IMandateRegistry.Withdrawal[] memory none = new IMandateRegistry.Withdrawal[](0);
        bytes memory sig = signature(PRINCIPAL_KEY, MandateDigests.revocation(address(registry), ids[2]));
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, principal));
        registry.revokeWithSignature(lineageOf(1), none, principal, sig);
        _refuse(abi.encodeWithSelector(IMandateRegistry.NotRevoker.selector, thief));
        registry.revokeWithSignature(lineageOf(2), none, thief, sig);
        registry.revokeWithSignature(lineageOf(2), none, principal, sig);
        vm.assertTrue(registry.mandates(ids[2]).revoked, "revoked");
        // By a wallet that is the parent's delegate.
        sig = signature(AGENT_WALLET_KEY, MandateDigests.revocation(address(registry), ids[5]));
        registry.revokeWithSignature(lineageOf(5), none, address(agentWallet), sig);
        vm.assertTrue(registry.mandates(ids[5]).revoked, "revoked by a wallet");
    }

    function test_bumpEpochEndsAll() public {
        approveAll();
        vm.expectEmit(true, true, true, true, address(registry));
        emit EpochBumped(principal, 1);
        vm.prank(principal);
        registry.bumpEpoch();
        _refuse(abi.encodeWithSelector(IMandateRegistry.WrongEpoch.selector, ids[0], 0, 1));
        spendAs(agent(2), orderOf(2, payees[0], 1));
        vm.assertEq(registry.remaining(lineageOf(2)), 0, "remaining");
        // Another principal's stand.
        vm.prank(address(agentWallet));
        registry.spend(orderOf(4, payees[0], 1));
    }

    // ------------------------------------------------------------------ wallets

    /// @notice A wallet that changes its mind can refuse an approval, but not take one back; for that there is revoke.
    function test_walletThatFlips() public {
        principalWallet.setMode(ScriptedWallet.Mode.Refuses, 0);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, address(principalWallet)));
        registry.approveWithSignature(lineageOf(4), grant(4));
        principalWallet.setMode(ScriptedWallet.Mode.Honest, 0);
        registry.approveWithSignature(lineageOf(4), grant(4));
        principalWallet.setMode(ScriptedWallet.Mode.Reverts, 0);
        registry.spendWithSignature(signed(orderOf(4, payees[0], 5), AGENT_WALLET_KEY, 0));
        agentWallet.setMode(ScriptedWallet.Mode.Refuses, 0);
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, address(agentWallet)));
        registry.spendWithSignature(signed(orderOf(4, payees[0], 5), AGENT_WALLET_KEY, 1));
        principalWallet.run(address(registry), abi.encodeCall(registry.revoke, (lineageOf(4))));
        agentWallet.setMode(ScriptedWallet.Mode.Honest, 0);
        _refuse(abi.encodeWithSelector(IMandateRegistry.MandateIsRevoked.selector, ids[4]));
        registry.spendWithSignature(signed(orderOf(4, payees[0], 5), AGENT_WALLET_KEY, 1));
        vm.assertEq(token.balanceOf(payees[0]), 5, "paid");
    }

    function testFuzz_onlyTheRegistryRunsRows(address caller) public {
        vm.assume(caller != address(registry));
        approveAll();
        IMandateRegistry.SignedSpend memory row = unsigned(orderOf(0, payees[0], 5));
        _refuse(abi.encodeWithSelector(IMandateRegistry.OnlySelf.selector, caller));
        vm.prank(caller);
        registry.executeRow(row, agent(0));
        _refuse(abi.encodeWithSelector(IMandateRegistry.OnlySelf.selector, caller));
        vm.prank(caller);
        registry.simulateRow(row, agent(0));
    }
}
