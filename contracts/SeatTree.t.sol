// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Median} from "./libraries/Median.sol";
import {SeatTree} from "./libraries/SeatTree.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice The draw's tree and the ruling's median against the plainest way to compute them.
contract SeatTreeTest is TestBase {
    using SeatTree for SeatTree.Tree;

    SeatTree.Tree private tree;
    uint256[] private plain;

    function testFuzz_findsWhatAPlainWalkFinds(uint256 seed) public {
        uint256 size = bound(random(seed, "size"), 1, 21);
        for (uint256 i = 0; i < size; i++) {
            vm.assertEq(tree.append(), i + 1, "index");
            plain.push(random(seed, i) % 4);
            tree.add(i + 1, plain[i]);
            uint256 other = random(seed, i + 100) % (i + 1);
            tree.sub(other + 1, plain[other] / 2);
            plain[other] -= plain[other] / 2;
        }
        uint256[] memory indices = new uint256[](2);
        uint256[] memory weights = new uint256[](2);
        uint256 excluded = size > 2 ? 2 : 0;
        uint256 left = tree.total();
        for (uint256 i = 0; i < excluded; i++) {
            // Neighbours or the same half: whichever, never the same entry.
            indices[i] = 1 + (random(seed, "excluded") + i) % size;
            weights[i] = plain[indices[i] - 1];
            left -= weights[i];
            plain[indices[i] - 1] = 0;
        }
        uint256 sum;
        for (uint256 i = 0; i < size; i++) {
            for (uint256 lot = 0; lot < plain[i]; lot++) {
                vm.assertEq(tree.find(sum++, indices, weights, excluded), i + 1, "found");
            }
        }
        vm.assertEq(sum, left, "every lot is somebody's");
    }

    /// @notice As many votes are at or below the median as at or above it; fewer than half cannot leave the others' range.
    function testFuzz_median(uint16[] memory votes, uint256 length) public pure {
        if (votes.length == 0) return;
        length = bound(length, 1, votes.length < 19 ? votes.length : 19);
        uint16[] memory some = new uint16[](length);
        for (uint256 i = 0; i < length; i++) {
            some[i] = votes[i];
        }
        uint16 median = Median.medianOf(some);
        uint256 below;
        uint256 above;
        for (uint256 i = 0; i < length; i++) {
            if (votes[i] < median) below++;
            if (votes[i] > median) above++;
        }
        vm.assertTrue(below * 2 <= length && above * 2 <= length, "in the middle");
    }
}
